# Stand-in for MicroPython's `neopixel`.
class NeoPixel:
    def __init__(self, pin, count):
        self.count = count

    def fill(self, colour):
        if len(colour) != 3 or not all(0 <= part <= 255 for part in colour):
            raise ValueError(colour)

    def write(self):
        pass
