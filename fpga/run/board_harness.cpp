// Drives a Verilated board core by its UART pins, for Python's ctypes.

#include <cstdint>

#include "Vboard.h"
#include "verilated.h"

namespace {

// `divisor` clock cycles per bit, 8 data bits, no parity, one stop bit.
struct Board {
    VerilatedContext context;
    Vboard top{&context};
    uint32_t divisor;
    uint64_t cycles = 0;
    // What is being sent to the board: bits still to come, the lowest now, and cycles it stays.
    uint32_t sending = 0, sending_left = 0;
    // What comes from it: 0 idle, 1 .. 10 bits to sample; cycles until the next sample.
    uint32_t receiving = 0, receiving_left = 0, received = 0;

    explicit Board(uint32_t d) : divisor(d) {}

    void cycle() {
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
        ++cycles;
    }
};

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

// A board whose power has just come.
void* board_open(uint32_t divisor) {
    auto* board = new Board(divisor);
    board->top.rx = 1;
    board->top.rst = 1;
    for (int i = 0; i < 4; ++i) board->cycle();
    board->top.rst = 0;
    return board;
}

void board_close(void* handle) {
    auto* board = static_cast<Board*>(handle);
    board->top.final();
    delete board;
}

uint64_t board_cycles(void* handle) { return static_cast<Board*>(handle)->cycles; }

// Runs `budget` clock cycles, or until `capacity` bytes have come. Sends up to `count` bytes, one
// after the other without a pause, and counts those begun in `*taken`; returns how many bytes came.
// A byte without a stop bit is not one.
uint64_t board_step(void* handle, const uint8_t* bytes, uint64_t count, uint64_t* taken,
                    uint8_t* answer, uint64_t capacity, uint64_t budget) {
    auto* board = static_cast<Board*>(handle);
    auto& top = board->top;
    uint64_t sent = 0, got = 0;
    while (budget-- > 0 && got < capacity) {
        if (board->sending_left == 0) {
            if (board->sending > 1) board->sending >>= 1;
            if (board->sending <= 1) {
                // Only the stop bit, which has had its time, or nothing was left.
                board->sending = sent < count ? uint32_t{bytes[sent++]} << 1 | 3u << 9 : 0;
            }
            board->sending_left = board->sending ? board->divisor : 0;
        }
        top.rx = board->sending ? board->sending & 1 : 1;
        if (board->sending_left) --board->sending_left;
        board->cycle();
        if (board->receiving == 0) {
            if (!top.tx) {
                board->receiving = 10;
                board->receiving_left = board->divisor / 2;
            }
        } else if (--board->receiving_left == 0) {
            board->received = board->received >> 1 | uint32_t{top.tx} << 9;
            board->receiving_left = board->divisor;
            if (--board->receiving == 0 && top.tx && !(board->received & 1)) {
                answer[got++] = static_cast<uint8_t>(board->received >> 1);
            }
        }
    }
    *taken = sent;
    return got;
}

}  // extern "C"
#pragma GCC visibility pop
