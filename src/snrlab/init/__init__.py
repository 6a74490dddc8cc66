"""`snrlab init`: a run file from a folder of images."""
