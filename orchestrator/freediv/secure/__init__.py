"""The SPU side: a model's stages, run on secret shares by parties of whom none learns anything.

`protocol` what the parties agree on; `shares` arrays split and joined; `store` a party's weight shares on disk;
`worker` a party's hold on the process that runs everything (`commands` between them, `child` that process, `failures`
that end it); `link` and `process` the way to the others and what the kernel knows; `programs` stages compiled for SPU;
`runtime` SPU's own, with what each program cost (`profile`, `records`); `engine` how a stage is executed.
"""
