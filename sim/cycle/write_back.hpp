// The way from a step of the drain to the slices (hw/top.py): chain of sums and requantizers.

#pragma once

#include "activation_slice.hpp"

namespace cycle_model {
namespace {

// A step of the drain: its entry of the row memory, and the pixel that it is of.
struct Step {
    int32_t entry, address, pixel;
    Window window;
};

class WriteBack {
  public:
    WriteBack(Layer& layer, std::vector<ActivationSlice>& slices)
        : layer(layer), c(layer.machine), slices(slices),
          steps(power_of_two(std::max(c.write_back_latency, c.result_write_latency) + 1)), there(steps.size(), 0),
          results(steps.size(), 0), mask(uint32_t(steps.size()) - 1) {}

    void offer(int32_t t, const Step& step) {
        const uint32_t place = uint32_t(t + c.write_back_latency) & mask;
        steps[place] = step;
        there[place] = 1;
        results[uint32_t(t + c.result_write_latency) & mask] = layer.fields.raw;
        ++in_flight;
    }

    // One cycle.
    void step(int32_t t) {
        if (!in_flight) return;
        const uint32_t place = uint32_t(t) & mask;
        if (!there[place]) return;
        there[place] = 0;
        --in_flight;
        if (layer.fields.raw) {
            ++layer.counters[RESULT_WRITES];
        } else {
            arrive(t, steps[place]);
        }
    }

    // A result is written in cycle `t`, which is asked once.
    bool writes_result(int32_t t) {
        const bool result = results[uint32_t(t) & mask];
        results[uint32_t(t) & mask] = 0;
        return result;
    }

  private:
    void arrive(int32_t t, const Step& step) {
        const RowLane* rows = layer.in.row_lanes + int64_t(step.entry) * c.lanes;
        for (int first = 0; first < c.drain_classes; ++first) {
            int cluster = c.clusters;
            Lanes lanes = 0;
            bool nothing = true;
            for (int lane = first; lane < c.lanes; lane += c.drain_classes) {
                const RowLane& row = rows[lane];
                if (!row.enable || row.cluster >= c.clusters) continue;
                cluster = row.cluster;
                lanes |= Lanes(1) << row.lane;
                nothing &= changes_nothing(row, step);
            }
            if (cluster == c.clusters) continue;
            Window window = step.window;
            if (rows[first].merge) window.fresh_x = 0;
            if (nothing) {
                if (!window.fresh_x || !window.fresh_y) continue;
                window.count_x = window.fresh_x;
                window.count_y = window.fresh_y;
            }
            slices[cluster].merge.offer(t, step.address + rows[first].word, lanes, window);
        }
    }

    // Whether a row's value is a zero that changes nothing where it would be merged.
    bool changes_nothing(const RowLane& row, const Step& step) const {
        const auto& in = layer.in;
        if (!in.outputs || layer.fields.visits_zeros) return false;
        const int64_t pixels = int64_t(layer.fields.height) * layer.fields.width;
        const Lanes word = in.outputs[(row.cluster * pixels + step.pixel) * in.output_words + row.value];
        return !(word >> row.lane & 1);
    }

    Layer& layer;
    const Machine& c;
    std::vector<ActivationSlice>& slices;
    std::vector<Step> steps;            // by the cycle in which they arrive
    std::vector<uint8_t> there, results;
    uint32_t mask;
    int32_t in_flight = 0;
};

}  // namespace
}  // namespace cycle_model
