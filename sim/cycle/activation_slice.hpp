// hw/activation_slice.py: the memory of one slice, and who reads and writes it in a cycle.

#pragma once

#include "cluster.hpp"
#include "merge.hpp"

namespace cycle_model {
namespace {

// By slice: its ports do not serve the host.
struct Busy {
    uint8_t reading[MOST_CLUSTERS] = {}, writing[MOST_CLUSTERS] = {};
};

class ActivationSlice {
  public:
    ActivationSlice(Layer& layer, int number) : merge(layer), c(layer.machine), number(number) {}

    Merge merge;

    // One cycle: the set whose walker is served, or -1.
    int step(int32_t t, const Array& array, Busy& busy) {
        const bool writing = merge.writes(t);
        const bool port_taken = c.memory_ports == 1 && writing;
        const bool merging = merge.wants_read();
        merge.step(t, port_taken);
        int chosen = -1;
        if (!merging && !port_taken) {
            for (int n = 0; n < c.sets; ++n) {
                int set = turn + n;
                if (set >= c.sets) set -= c.sets;
                if (array.at(set, number).walker.wants_read()) {
                    chosen = set;
                    turn = set == c.sets - 1 ? 0 : set + 1;
                    break;
                }
            }
        }
        busy.reading[number] = merging || port_taken || chosen >= 0;
        busy.writing[number] = writing;
        return chosen;
    }

  private:
    const Machine& c;
    int number, turn = 0;
};

}  // namespace
}  // namespace cycle_model
