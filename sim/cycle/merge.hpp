// hw/merge.py: writes activations back into one slice's memory, keeping the maximum of a window.

#pragma once

#include "layer.hpp"

namespace cycle_model {
namespace {

// Pooled pixels that an output pixel feeds, each way, and those of them that are fed first.
struct Window {
    uint8_t count_x, count_y, fresh_x, fresh_y;
};
static_assert(MOST_WINDOW_COUNT <= UINT8_MAX);

class Merge {
  public:
    explicit Merge(Layer& layer)
        : layer(layer), c(layer.machine), queue(c.merge_places) {
        std::fill_n(visits, VISITS, Visit{-NEVER, 0, 0});
    }

    // A write-back comes in cycle `t`, for the lanes of a word whose bits are set.
    void offer(int32_t t, int32_t address, Lanes lanes, const Window& window) {
        queue[tail++ % uint32_t(c.merge_places)] = {t + QUEUE_LATENCY, address, lanes, window};
    }

    bool full() const { return filled; }

    // A visit is written.
    bool writes(int32_t t) const {
        for (const auto& visit : visits)
            if (t - visit.time == MERGE_WRITE_LATENCY) return true;
        return false;
    }

    bool idle(int32_t t) const {
        return !pending && !shown && head == tail && t - visits[0].time > MERGE_WRITE_LATENCY;
    }

    // It has a word to read, now or after a wait.
    bool wants_read() const { return pending && next.merge; }

    // One cycle; `port_taken`: a write has the memory's only port.
    void step(int32_t t, bool port_taken) {
        if (pending && !waits(t, port_taken)) {
            if (next.merge) ++layer.counters[MERGE_READS];
            ++layer.counters[WRITE_BACKS];
            for (int i = VISITS - 1; i > 0; --i) visits[i] = visits[i - 1];
            visits[0] = {t, next.address, next.lanes};
            pending = false;
        }
        // Without a register for it the oldest write-back is the queue's.
        if (!c.merge_head_latency && !pending) show(t);
        if (!pending && shown) shown = !take_up();
        if (c.merge_head_latency) show(t);
    }

    // The end of a cycle.
    void settle() {
        const int32_t level = int32_t(tail - head) + (!c.merge_head_latency && shown);
        filled.step(level >= c.merge_level);
    }

  private:
    struct WriteBack {
        int32_t visible, address;
        Lanes lanes;
        Window window;
    };
    struct Visit {
        int32_t time, address;
        Lanes lanes;
    };
    struct Next {
        int32_t address;
        Lanes lanes;
        bool merge;
    };

    void show(int32_t t) {
        if (shown || head == tail) return;
        first = queue[head % uint32_t(c.merge_places)];
        shown = first.visible <= t;
        head += shown;
    }

    bool waits(int32_t t, bool port_taken) const {
        if (!next.merge) return false;
        if (port_taken) return true;
        // A word that is just being written cannot be read, whatever the lanes.
        for (const auto& visit : visits) {
            const int32_t ago = t - visit.time;
            if (ago <= MERGE_WRITE_LATENCY && visit.address == next.address
                && ((visit.lanes & next.lanes) || ago == MERGE_WRITE_LATENCY))
                return true;
        }
        return false;
    }

    // The next visit, for the cycle after; true if it is the last of its write-back.
    bool take_up() {
        pending = true;
        next.address = first.address - y * layer.fields.step_y - x * layer.fields.step_x;
        next.lanes = first.lanes;
        next.merge = !(x < first.window.fresh_x && y < first.window.fresh_y);
        if (++x < first.window.count_x) return false;
        x = 0;
        if (++y < first.window.count_y) return false;
        y = 0;
        return true;
    }

    // One begins in a cycle at most, so these are all that are on their way.
    static constexpr int VISITS = MERGE_WRITE_LATENCY;

    Layer& layer;
    const Machine& c;
    std::vector<WriteBack> queue;
    uint32_t head = 0, tail = 0;
    // The level of the queue comes from a register, as does what is made of it.
    Delayed<1 + MERGE_FULL_LATENCY> filled;
    // The oldest write-back, and where its visits are.
    bool shown = false;
    WriteBack first{};
    int32_t x = 0, y = 0;
    // The visit at hand, and the last ones.
    bool pending = false;
    Next next{};
    Visit visits[VISITS];
};

}  // namespace
}  // namespace cycle_model
