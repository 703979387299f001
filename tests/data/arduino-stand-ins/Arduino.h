// Stand-in for Arduino's core: enough to compile generated firmware on a computer, with the
// signatures of the AVR core and of Espressif's, and the macros that bite.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define HIGH 0x1
#define LOW 0x0
#define INPUT 0x0
#define OUTPUT 0x1
#define INPUT_PULLUP 0x2
#define PI 3.1415926535897932384626433832795
#define DEC 10
#define HEX 16
#define B0 0
#define B1 1
#define A0 14
#define LED_BUILTIN 13
#define EOF (-1)
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define round(x) ((x) >= 0 ? (long)((x) + 0.5) : (long)((x)-0.5))
#define bit(b) (1UL << (b))
#define interrupts() do {} while (0)
#define MSBFIRST 1
#define SERIAL 0x0
#define DISPLAY 0x1

class __FlashStringHelper;
#define F(text) (reinterpret_cast<const __FlashStringHelper *>(text))
#define strcmp_P strcmp

typedef bool boolean;
typedef uint8_t byte;

void pinMode(uint8_t pin, uint8_t mode);
void digitalWrite(uint8_t pin, uint8_t value);
int digitalRead(uint8_t pin);
int analogRead(uint8_t pin);
void analogWrite(uint8_t pin, int value);
void tone(uint8_t pin, unsigned int frequency, unsigned long duration = 0);
void noTone(uint8_t pin);
unsigned long pulseIn(uint8_t pin, uint8_t state, unsigned long timeout = 1000000UL);
unsigned long millis();
unsigned long micros();
void delay(unsigned long ms);
void delayMicroseconds(unsigned int us);

class Print {
 public:
  size_t print(const __FlashStringHelper *);
  size_t print(const char *);
  size_t print(char);
  size_t print(int, int = DEC);
  size_t print(long, int = DEC);
  size_t print(unsigned long, int = DEC);
  size_t print(double, int = 2);
  size_t println(const __FlashStringHelper *);
  size_t println(const char *);
  size_t println(char);
  size_t println(int, int = DEC);
  size_t println(long, int = DEC);
  size_t println(unsigned long, int = DEC);
  size_t println(double, int = 2);
  size_t println();
};

class HardwareSerial : public Print {
 public:
  void begin(unsigned long baud);
  int available();
  int read();
};
extern HardwareSerial Serial;

void setup();
void loop();
