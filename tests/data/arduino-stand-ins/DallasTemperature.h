#pragma once
#include <OneWire.h>
#define DEVICE_DISCONNECTED_C -127
class DallasTemperature {
 public:
  explicit DallasTemperature(OneWire *wire);
  void begin();
  void setWaitForConversion(bool wait);
  void requestTemperatures();
  float getTempCByIndex(uint8_t index);
};
