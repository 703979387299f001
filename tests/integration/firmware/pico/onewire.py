# Stand-in for MicroPython's `onewire`.
class OneWire:
    def __init__(self, pin):
        pass
