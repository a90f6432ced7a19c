"""GPUs of the host the Agent runs on, read through NVML: devices, errors, processes."""
