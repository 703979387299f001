// An Arduino Uno without the Uno: runs an ELF on simavr's ATmega328P, its serial line on
// standard input and output, in step with the clock on the wall. Ends when its input does.
//
//   cc simulate_uno.c -lsimavr -lelf -o simulate_uno && ./simulate_uno firmware.elf
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <simavr/avr_adc.h>
#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_elf.h>

static int ready;

static void on_byte(struct avr_irq_t *irq, uint32_t value, void *param) {
  (void)irq;
  (void)param;
  const char byte = (char)value;
  if (write(STDOUT_FILENO, &byte, 1) != 1) _exit(3);
}

static void on_ready(struct avr_irq_t *irq, uint32_t value, void *param) {
  (void)irq;
  (void)value;
  (void)param;
  ready = 1;
}

static void on_full(struct avr_irq_t *irq, uint32_t value, void *param) {
  (void)irq;
  (void)value;
  (void)param;
  ready = 0;
}

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  elf_firmware_t firmware;
  memset(&firmware, 0, sizeof firmware);
  if (elf_read_firmware(argv[1], &firmware) != 0) return 2;
  avr_t *avr = avr_make_mcu_by_name("atmega328p");
  if (avr == NULL) return 2;
  avr_init(avr);
  avr->frequency = 16000000;
  avr->avcc = avr->aref = avr->vcc = 5000;
  avr_load_firmware(avr, &firmware);
  uint32_t flags = 0;
  avr_ioctl(avr, AVR_IOCTL_UART_GET_FLAGS('0'), &flags);
  flags &= ~(uint32_t)AVR_UART_FLAG_STDIO;
  avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
  avr_irq_t *line = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), 0);
  avr_irq_register_notify(line + UART_IRQ_OUTPUT, on_byte, NULL);
  avr_irq_register_notify(line + UART_IRQ_OUT_XON, on_ready, NULL);
  avr_irq_register_notify(line + UART_IRQ_OUT_XOFF, on_full, NULL);
  // A potentiometer in the middle.
  avr_raise_irq(avr_io_getirq(avr, AVR_IOCTL_ADC_GETIRQ, ADC_IRQ_ADC0), 2500);
  fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
  const double start_s = now_s();
  for (uint64_t step = 0;; ++step) {
    const int state = avr_run(avr);
    if (state == cpu_Done || state == cpu_Crashed) return 4;
    if (step % 1000 != 0) continue;
    if (ready) {
      char byte;
      const ssize_t got = read(STDIN_FILENO, &byte, 1);
      if (got == 0) return 0;
      if (got == 1) avr_raise_irq(line + UART_IRQ_INPUT, (uint8_t)byte);
    }
    // Not faster than a real one: its timeouts are in its own milliseconds.
    const double ahead_s = (double)avr->cycle / 16e6 - (now_s() - start_s);
    if (ahead_s > 0.002) usleep((useconds_t)(ahead_s * 1e6));
  }
}
