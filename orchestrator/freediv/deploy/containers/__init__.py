"""Roles in containers: their images, what each container may do, and files and engines to start them with."""
