"""A trial on several workers, as one of them sees the others.

`alone` stands for a trial on one worker, `several` for the others, behind one face, `Workers` of `face`:
`store` is how ranks find each other, `group` the process groups of torch.distributed, `shares` what a
rank's rows count, `replica`, `reducer` and `sharded` average gradients, `broken` tells an error of a
collective from the function's own.
"""
