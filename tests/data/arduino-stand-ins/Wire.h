#pragma once
#include <Arduino.h>
#if !defined(STAND_IN_ESP32)
#define WIRE_HAS_TIMEOUT
#endif
class TwoWire {
 public:
#if defined(STAND_IN_ESP32)
  bool begin(int sda, int scl, uint32_t frequency = 0);
  void setTimeOut(uint16_t ms);
#else
  void begin();
  void setWireTimeout(uint32_t us = 25000, bool reset = false);
#endif
  void beginTransmission(uint8_t address);
  uint8_t endTransmission();
  uint8_t endTransmission(bool stop);
  size_t write(uint8_t value);
  uint8_t requestFrom(uint8_t address, uint8_t count);
  int read();
};
extern TwoWire Wire;
#if defined(STAND_IN_ESP32)
extern TwoWire Wire1;
#endif
