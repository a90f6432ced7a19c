"""TorchServe asks this for a type alone, and what can be had from a registry is 870 MB."""


class Tensor:
    pass


def is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)
