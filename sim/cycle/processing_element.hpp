// hw/processing_element.py: the elements of one cluster. When an entry comes to an element, all that
// is before it is known; so it is settled then when it will be taken, and when its rows are added.

#pragma once

#include "layer.hpp"

namespace cycle_model {
namespace {

class Elements {
  public:
    explicit Elements(Layer& layer)
        : layer(layer), count(layer.machine.elements), depth(layer.machine.depth),
          skip(layer.machine.skip_weights), ring(power_of_two(depth)), free_at(count, 0),
          entries(count, 0), taken(size_t(ring) * count, -NEVER) {}

    struct Pushed {
        bool any;
        int32_t work_end;               // all elements have ended the rows of what they have
        int32_t full_end;               // all queues have room again for what has come
    };

    // What is broadcast comes in cycle `arrival`; `counts`: trits or weights that are not zero, by
    // element; `rows`: that are visited where zeros take their cycle.
    Pushed push(const Count* counts, int32_t rows, int32_t arrival) {
        if (count == 16) return push_to<16>(counts, rows, arrival);
        return push_to<0>(counts, rows, arrival);
    }

  private:
    template <int ELEMENTS>             // 0: as many as there are
    Pushed push_to(const Count* counts, int32_t rows, int32_t arrival) {
        const int elements = ELEMENTS ? ELEMENTS : count;
        const int mask = ring - 1, back = depth - 1, size = ring;
        const bool skip = this->skip;
        int32_t* free = free_at.data();
        int32_t* entry_count = entries.data();
        int32_t* history = taken.data();
        int32_t full_end = 0, adds = 0, writes = 0;
        int32_t starts[ELEMENTS ? ELEMENTS : MOST_ELEMENTS];
        for (int p = 0; p < elements; ++p) {
            const int32_t n = skip ? counts[p] : rows;
            const int32_t start = std::max(arrival + QUEUE_LATENCY, free[p]);
            starts[p] = start;
            free[p] = n ? start + n : free[p];
            adds += counts[p];
        }
        // A place in the history that stays is written again by the entry that follows.
        for (int p = 0; p < elements; ++p) {
            const int32_t pushed = skip ? counts[p] > 0 : rows > 0;
            const int32_t entry = entry_count[p];
            int32_t* own = history + p * size;
            const int32_t kept = own[entry & mask];
            own[entry & mask] = pushed ? starts[p] : kept;
            const int32_t end = own[(entry - back) & mask];
            full_end = pushed && end > full_end ? end : full_end;
            entry_count[p] = entry + pushed;
            writes += pushed;
        }
        int32_t work_end = 0;
        for (int p = 0; p < elements; ++p) work_end = std::max(work_end, free[p]);
        ++layer.counters[BROADCASTS];
        layer.counters[ADDS] += adds;
        layer.counters[QUEUE_WRITES] += writes;
        return {writes > 0, work_end, full_end};
    }

    Layer& layer;
    const int32_t count, depth;
    const bool skip;
    const int ring;
    // By element: when it is free, how many entries it has had, when each of the last was taken.
    std::vector<int32_t> free_at, entries, taken;
};
static_assert(MOST_ROWS <= (uint64_t(1) << 8 * sizeof(Count)) - 1, "trits of an element's word");

}  // namespace
}  // namespace cycle_model
