"""What the network is given: encoded images and captions, in the order in which they are served."""
