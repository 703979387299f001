# Stand-in for MicroPython's `ds18x20`: one sensor at 85 °C, which is what one says at power-on.
class DS18X20:
    def __init__(self, wire):
        pass

    def scan(self):
        return [bytearray(8)]

    def convert_temp(self):
        pass

    def read_temp(self, rom):
        return 85.0
