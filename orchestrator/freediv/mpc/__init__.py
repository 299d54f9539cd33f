"""The SPU side: a model's stages, run on secret shares by parties of whom none learns anything.

`engine` how a stage is executed, and `shares_engine` the fast one; `records` what it costs. `sharing` arrays split,
joined and kept; `link` the way to the other parties; `replicated` products on the shares; `lookup` word pieces looked
up in secret; `cutting` stages cut at products; `spu` programs and SPU's runtime; `worker` the process that runs
everything, and a party's hold on it.
"""
