#pragma once
#include <Arduino.h>
class Adafruit_GFX : public Print {
 public:
  void setCursor(int16_t x, int16_t y);
  void setTextColor(uint16_t colour);
};
