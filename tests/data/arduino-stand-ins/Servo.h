#pragma once
#include <Arduino.h>
class Servo {
 public:
  Servo();
  uint8_t attach(int pin, int minimum, int maximum);
  void write(int value);
};
