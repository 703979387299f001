#pragma once
#include <Wire.h>
class Adafruit_BME280 {
 public:
  Adafruit_BME280();
  bool begin(uint8_t address, TwoWire *wire = &Wire);
  float readTemperature();
  float readHumidity();
  float readPressure();
};
