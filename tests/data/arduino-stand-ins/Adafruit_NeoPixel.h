#pragma once
#include <Arduino.h>
#define NEO_GRB 82
#define NEO_KHZ800 0
class Adafruit_NeoPixel {
 public:
  Adafruit_NeoPixel(uint16_t count, int16_t pin, uint16_t type);
  void begin();
  void show();
  void fill(uint32_t colour = 0, uint16_t first = 0, uint16_t count = 0);
};
