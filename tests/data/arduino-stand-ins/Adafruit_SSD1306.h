#pragma once
#include <Adafruit_GFX.h>
#include <Wire.h>
#define SSD1306_WHITE 1
#define SSD1306_SWITCHCAPVCC 0x02
class Adafruit_SSD1306 : public Adafruit_GFX {
 public:
  Adafruit_SSD1306(uint8_t width, uint8_t height, TwoWire *wire, int8_t reset);
  bool begin(uint8_t vcc, uint8_t address);
  void clearDisplay();
  void display();
};
