# Stand-in for MicroPython's `machine` on a Raspberry Pi Pico: pins that remember, a BME280 with
# the numbers of the data sheet's example, a BH1750, an MPU-6050, a display, an MCP3008.
import struct


class Pin:
    IN, OUT, PULL_UP = 0, 1, 2
    held = {}  # noqa: RUF012 - MicroPython has no typing

    def __init__(self, number, mode=0, pull=None, value=None):
        if not 0 <= number <= 28:
            raise ValueError(number)
        self.number = number
        # With a pull-up and nothing connected it reads 1.
        Pin.held.setdefault(number, 1 if pull == Pin.PULL_UP else 0)
        if value is not None:
            Pin.held[number] = value

    def value(self, *new):
        if new:
            Pin.held[self.number] = new[0]
        return Pin.held[self.number]


class PWM:
    def __init__(self, pin):
        self.pin = pin

    def freq(self, hz):
        if not 8 <= hz <= 62500000:
            raise ValueError(hz)

    def duty_u16(self, duty):
        if not 0 <= duty <= 65535:
            raise ValueError(duty)

    def duty_ns(self, ns):
        if not 0 <= ns <= 20000000:
            raise ValueError(ns)


class ADC:
    def __init__(self, pin):
        if pin.number not in (26, 27, 28):
            raise ValueError(pin.number)

    def read_u16(self):
        return 32768


# BST-BMP280-DS001, chapter 3.12: the same registers and formulas for temperature and pressure.
_BME = (
    struct.pack("<Hhh", 27504, 26435, -1000)
    + struct.pack("<Hhhhhhhhh", 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000)
    + bytes((0, 75))
)
_BME_HUMIDITY = struct.pack("<h", 362) + bytes((0, 0x14, 0x03, 0x00, 30))
_RAW_T, _RAW_P, _RAW_H = 519888, 415148, 30000


def _twenty(raw):
    return bytes((raw >> 12, raw >> 4 & 255, (raw & 15) << 4))


class I2C:
    def __init__(self, number, sda=None, scl=None, freq=400000):
        pairs = {0: (4, 5), 1: (6, 7)}
        if pairs[number] != (sda.number, scl.number):
            raise ValueError("bad SCL pin")
        self.written = []

    def writeto(self, address, data):
        if address not in (0x23, 0x3C):
            raise OSError(5)
        self.written.append(bytes(data))
        return len(data)

    def readfrom(self, address, count):
        if address != 0x23:
            raise OSError(5)
        return bytes((0x83, 0x90))[:count]  # the data sheet's example: 28067 lx

    def writeto_mem(self, address, register, data):
        if address not in (0x76, 0x68):
            raise OSError(5)

    def readfrom_mem(self, address, register, count):
        if address == 0x68:
            return struct.pack(">h", {0x3B: 0, 0x3D: -8192, 0x3F: 16384}[register])
        if address != 0x76:
            raise OSError(5)
        return {
            0x88: _BME,
            0xE1: _BME_HUMIDITY,
            0xF7: _twenty(_RAW_P) + _twenty(_RAW_T) + struct.pack(">H", _RAW_H),
        }[register][:count]


class SPI:
    def __init__(self, number, baudrate=1000000, sck=None, mosi=None, miso=None):
        if (number, sck.number, mosi.number, miso.number) != (0, 18, 19, 16):
            raise ValueError("bad SPI pins")

    def write_readinto(self, sent, received):
        value = (sent[1] >> 4 & 7) * 100
        received[1] = 0xF8 | value >> 8  # what is above the ten bits is noise
        received[2] = value & 255


def time_pulse_us(pin, level, timeout_us):
    return 5831
