// Drives the Verilated accelerator through its two streams, for Python's ctypes.
// Words carry their packet's `last` in bit 32.

#include <cstdint>
#include <cstring>
#include <vector>

#include "Vaccelerator.h"
#include "Vaccelerator__Dpi.h"
#include "verilated.h"

#ifdef SEPARATE_CLUSTERS
extern "C" void cluster_memory_poke(int address, const svBitVecVal* word);
#else
#define cluster_memory_poke chunk_memory_poke
#endif

namespace {

struct Harness {
    VerilatedContext context;
    Vaccelerator top{&context};
    uint64_t cycles = 0;
    // Cycles of interest and what the observation port was: one of `pulses` high, one of `levels`
    // not as before. Both 0: nobody looks.
    uint64_t pulses = 0, levels = 0, before = 0;
    std::vector<uint64_t> samples;

    void observe() {
        const uint64_t now = top.probe;
        if ((now & pulses) | ((now ^ before) & levels)) {
            samples.push_back(cycles);
            samples.push_back(now);
        }
        before = now;
    }

    void half(int clk) {
        top.clk = clk;
        top.eval();
    }
};

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

// A reset accelerator.
void* harness_open() {
    auto* harness = new Harness;
    harness->top.rst = 1;
    harness->top.commands___05Fvalid = 0;
    harness->top.results___05Fready = 0;
    for (int i = 0; i < 4; ++i) {
        harness->half(0);
        harness->half(1);
    }
    // The accelerator registers its reset: words offered before it has ended would be lost.
    harness->top.rst = 0;
    for (int i = 0; i < 4; ++i) {
        harness->half(0);
        harness->half(1);
    }
    return harness;
}

void harness_close(void* handle) {
    auto* harness = static_cast<Harness*>(handle);
    harness->top.final();
    delete harness;
}

uint64_t harness_cycles(void* handle) { return static_cast<Harness*>(handle)->cycles; }

// The back door: writes `count` words of `width` 32-bit parts each to the memory with this
// hierarchical name, from `address` on, without a clock edge. Returns 0 if there is no such memory.
// `inside` says that the memory is a cluster's.
int harness_poke(void* handle, const char* memory, int inside, uint32_t address, uint32_t count,
                 uint32_t width, const uint32_t* words) {
    auto* harness = static_cast<Harness*>(handle);
    Verilated::threadContextp(&harness->context);
    const svScope scope = svGetScopeFromName(memory);
    if (!scope) return 0;
    svSetScope(scope);
    svBitVecVal word[128] = {};
    for (uint32_t i = 0; i < count; ++i) {
        std::memcpy(word, words + size_t{i} * width, width * sizeof(uint32_t));
        (inside ? cluster_memory_poke : chunk_memory_poke)(static_cast<int>(address + i), word);
    }
    return 1;
}

// From now on the observation port is looked at; with `pulses` 0 no longer. Samples are dropped.
void harness_observe(void* handle, uint64_t pulses, uint64_t levels) {
    auto* harness = static_cast<Harness*>(handle);
    harness->pulses = pulses;
    harness->levels = levels;
    harness->before = 0;
    std::vector<uint64_t>().swap(harness->samples);
}

// Moves up to `capacity` 64-bit words of samples, cycle and port in turn, to `words`, if there is
// room for all; returns how many there were.
uint64_t harness_samples(void* handle, uint64_t* words, uint64_t capacity) {
    auto& samples = static_cast<Harness*>(handle)->samples;
    const uint64_t count = samples.size();
    if (count && count <= capacity) {
        std::memcpy(words, samples.data(), count * sizeof(uint64_t));
        samples.clear();
    }
    return count;
}

// Offers `command_count` words and takes result words, until all commands are taken and
// `packets` packets have been answered, or `result_capacity` words have come, or `budget` cycles have passed.
// Returns the number of result words; `*taken` counts command words, `*answered` packets.
uint64_t harness_step(void* handle, const uint64_t* commands, uint64_t command_count,
                      uint64_t* taken, uint64_t* results, uint64_t result_capacity,
                      uint64_t packets, uint64_t* answered, uint64_t budget) {
    auto* harness = static_cast<Harness*>(handle);
    auto& top = harness->top;
    uint64_t sent = 0, got = 0, ended = 0;
    while (budget-- > 0 && got < result_capacity && (sent < command_count || ended < packets)) {
        // Inputs change while the clock is low.
        const bool offer = sent < command_count;
        top.commands___05Fvalid = offer;
        if (offer) {
            top.commands___05Fpayload = commands[sent];
        }
        top.results___05Fready = 1;
        harness->half(0);
        const bool take = offer && top.commands___05Fready;
        const bool give = top.results___05Fvalid;
        if (harness->pulses) harness->observe();
        if (give) {
            results[got++] = top.results___05Fpayload;
            ended += top.results___05Fpayload >> 32 & 1;
        }
        harness->half(1);
        sent += take;
        ++harness->cycles;
    }
    *taken = sent;
    *answered = ended;
    return got;
}

}  // extern "C"
#pragma GCC visibility pop
