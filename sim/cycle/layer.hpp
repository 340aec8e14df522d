// What all blocks share: clock cycles, queues, the layer that is computed, its counters and log.
//
// Time is in clock cycles from the layer's start. `t + 1` is the cycle after: when a register
// that takes a value in cycle t has it. Every other latency is an entry of hw/timing.py.

#pragma once

#include <algorithm>
#include <climits>
#include <cstdint>
#include <vector>

#include "machine.hpp"

namespace cycle_model {
namespace {

constexpr int32_t NEVER = INT_MAX / 2;

constexpr uint32_t power_of_two(uint32_t least) {
    uint32_t size = 1;
    while (size < least) size *= 2;
    return size;
}

// First in, first out, with room for `PLACES` entries at least.
template <class T, int PLACES>
class Ring {
  public:
    uint32_t size() const { return tail - head; }
    bool empty() const { return head == tail; }
    const T& front() const { return items[head % SIZE]; }
    T& push() { return items[tail++ % SIZE]; }
    void pop() { ++head; }

  private:
    static constexpr uint32_t SIZE = power_of_two(PLACES);
    T items[SIZE];
    uint32_t head = 0, tail = 0;
};

// Whether something was so `LATENCY` cycles ago.
template <int LATENCY>
class Delayed {
    static_assert(LATENCY >= 1 && LATENCY < 32, "the cycles before are bits of a word");

  public:
    operator bool() const { return before >> (LATENCY - 1) & 1; }
    void step(bool now) { before = before << 1 | uint32_t(now); }

  private:
    uint32_t before = 0;
};

// Of one layer; times count from `base`.
class EventLog {
  public:
    explicit EventLog(std::vector<Record>* records) : records(records) {}

    void add(int32_t time, Event kind, int32_t set = 0, int32_t tile = 0, int32_t pixel = 0) {
        if (records) records->push_back({time - base, kind, set, tile, pixel});
    }

    int32_t base = 0;

  private:
    std::vector<Record>* records;
};

struct Layer {
    Layer(const Machine& machine, const LayerInput& in, std::vector<Record>* records)
        : machine(machine), in(in), fields(*in.layer), log(records) {}

    const Machine machine;
    const LayerInput in;
    const LayerFields fields;
    int64_t counters[COUNTERS] = {};
    EventLog log;
    bool broken = false;                // an address is beyond its memory
};

}  // namespace
}  // namespace cycle_model
