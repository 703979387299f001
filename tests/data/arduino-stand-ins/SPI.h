#pragma once
#include <Arduino.h>
#define SPI_MODE0 0
class SPISettings {
 public:
  SPISettings(uint32_t clock, uint8_t order, uint8_t mode);
};
class SPIClass {
 public:
  void begin();
  void beginTransaction(SPISettings settings);
  uint8_t transfer(uint8_t value);
  void endTransaction();
};
extern SPIClass SPI;
