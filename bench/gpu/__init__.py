"""normrnn on a GPU beside PyTorch and cuDNN, timed by CUDA events in the same run."""
