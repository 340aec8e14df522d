// hw/drain.py: takes finished pixels out of the array, one accumulator row per step.

#pragma once

#include "cluster.hpp"
#include "write_back.hpp"

namespace cycle_model {
namespace {

// One output pixel of one tile.
struct DrainJob {
    int32_t rows_used, row_base, address, pixel, tile;
    Window window;
};

class Drain {
  public:
    Drain(Layer& layer, Array& array, WriteBack& write_back)
        : layer(layer), c(layer.machine), array(array), write_back(write_back),
          jobs(power_of_two(c.pixels_ahead)), mask(uint32_t(jobs.size()) - 1), blocks(c.elements / c.lanes),
          last_pixel(find_last_pixel()) {}

    bool has_room() const { return tail - head != uint32_t(c.pixels_ahead); }

    void offer(int32_t t, const DrainJob& job) {
        jobs[tail++ & mask] = {t + QUEUE_LATENCY, job};
    }

    // The beginning of a cycle: whether the oldest pixel is complete, and the next one.
    void look(int32_t t) {
        waiting = shows(head, t);
        complete = waiting && array.complete(set, t);
        next_complete = number >= 0 && shows(head + 1, t) && array.complete(next_set(), t);
    }

    // The set whose oldest pixel is complete, or -1.
    int draining() const { return complete || number >= 0 ? set : -1; }

    // One cycle; true if there is nothing to do.
    bool step(int32_t t, bool full) {
        const bool stands = stop;
        stop.step(full);
        if (number < 0) {
            if (complete) {
                number = 0;
                array.begin(set, t);
            }
            return !waiting;
        }
        const DrainJob& job = front().job;
        if (stands) {
            ++layer.counters[STALL_WRITE_BACK];
            if (!stalled) layer.log.add(t, DRAIN_STALL_BEGAN, set, job.tile, job.pixel);
            stalled = true;
            return !waiting;
        }
        if (stalled) layer.log.add(t, DRAIN_STALL_ENDED, set, job.tile, job.pixel);
        stalled = false;
        write_back.offer(t, {job.row_base + number, job.address, job.pixel, job.window});
        ++layer.counters[DRAIN_STEPS];
        // The last row's first step frees the bank.
        const int32_t steps = job.rows_used * blocks;
        if (number == steps - blocks) array.free_bank(set, t);
        if (++number == steps) {
            number = next_complete ? 0 : -1;
            layer.log.add(t, PIXEL_DRAINED, set, job.tile, job.pixel);
            if (job.pixel == last_pixel) layer.log.add(t, TILE_DRAINED, 0, job.tile);
            ++head;
            set = next_set();
            if (next_complete) array.begin(set, t);
        }
        return false;
    }

  private:
    struct Offered {
        int32_t visible;
        DrainJob job;
    };

    const Offered& front() const { return jobs[head & mask]; }

    bool shows(uint32_t at, int32_t t) const {
        return int32_t(tail - at) > 0 && jobs[at & mask].visible <= t;
    }

    int next_set() const { return set == c.sets - 1 ? 0 : set + 1; }

    // The last one of a tile that is computed.
    int32_t find_last_pixel() const {
        int last_y = layer.fields.height - 1, last_x = layer.fields.width - 1;
        while (last_y > 0 && !layer.in.destination_y[last_y].count) --last_y;
        while (last_x > 0 && !layer.in.destination_x[last_x].count) --last_x;
        return last_y * layer.fields.width + last_x;
    }

    Layer& layer;
    const Machine& c;
    Array& array;
    WriteBack& write_back;
    std::vector<Offered> jobs;
    uint32_t mask, head = 0, tail = 0;
    int blocks;
    int32_t last_pixel;
    int set = 0;
    int32_t number = -1;                // of the step; -1: none is due
    bool waiting = false, complete = false, next_complete = false;
    bool stalled = false;               // for the log
    Delayed<STOP_LATENCY> stop;
};

}  // namespace
}  // namespace cycle_model
