// hw/zero_skip.py: broadcasts the activations of a word that are not zero, one per cycle.

#pragma once

#include "walker.hpp"

namespace cycle_model {
namespace {

// The stop signal: an element's queue is full. It is known some cycles ahead.
class Stop {
  public:
    // High from cycle `from` to cycle `last`; at most `AHEAD` cycles before, and once for each.
    void raise(int32_t from, int32_t last) { ends[from % PLACES] = last; }

    // Up to cycle `t`.
    void advance(int32_t t) {
        for (int32_t u = std::max(seen + 1, t - (PLACES - 1)); u <= t; ++u) fold(u);
        seen = t;
    }

    bool high(int32_t t) const { return until >= t; }

    // The first cycle from `t` on, `limit` at most, in which it is low if nothing raises it.
    int32_t low(int32_t t, int32_t limit) {
        int32_t u = t;
        while (u < limit) {
            fold(u);
            if (!high(u)) break;
            // Later than that no interval is still to begin.
            u = u - t < PLACES ? u + 1 : std::min(until + 1, limit);
        }
        return u;
    }

  private:
    static constexpr int AHEAD = BROADCAST_LATENCY + FULL_LATENCY;
    static constexpr int PLACES = power_of_two(AHEAD + 1);

    void fold(int32_t t) {
        int32_t& end = ends[t % PLACES];
        if (end > until) until = end;
        end = 0;
    }

    int32_t ends[PLACES] = {};          // by first cycle
    int32_t until = -1, seen = -1;
};

class ZeroSkip {
  public:
    explicit ZeroSkip(Layer& layer) : layer(layer), banks(layer.machine.banks) {}

    struct Broadcast {
        int32_t column = -1;            // -1: none
        int32_t rows_used = 0, tag = 0;
        int32_t quarter = -1;           // of the rows, where the column is of weights
        bool ends = false;              // the pixel's last word is done
    };

    bool holds() const { return held; }

    // Pixel of the word that is held; tags count the pixels of a set.
    int32_t tag = 0;
    Stop stop;

    // One cycle; `oldest`: the pixel that is not yet drained, `draining`: it is complete everywhere.
    Broadcast step(int32_t t, Walker& walker, int32_t oldest, bool draining) {
        Broadcast result;
        if (stalled_from >= 0) {
            layer.counters[STALL_QUEUE_FULL] += t - stalled_from;
            stalled_from = -1;
        }
        stop.advance(t);
        if (held) {
            if (!bank_free(oldest)) {
                ++layer.counters[draining ? STALL_DRAIN : STALL_IMBALANCE];
                return result;
            }
            if (pending) {
                if (stop.high(t)) {
                    ++layer.counters[STALL_QUEUE_FULL];
                    return result;
                }
                result.column = column + __builtin_ctz(pending);
                result.rows_used = rows_used;
                result.quarter = quarter;
                pending &= Lanes(pending - 1);
            } else {
                ++layer.counters[EMPTY_SCANS];
            }
            result.tag = tag;
            if (pending) return result;
            if (last) {
                result.ends = true;
                ++tag;
            }
        }
        const Word* word = walker.word(t);
        held = word != nullptr;
        if (!held) return result;
        pending = word->pending;
        column = word->column;
        last = word->last;
        rows_used = word->rows_used;
        quarter = word->quarter;
        layer.counters[SKIPPED_ACTIVATIONS] += word->skipped;
        walker.take();
        return result;
    }

    // The first cycle from `t` on, `limit` at most, in which it moves, if it holds a word. What it
    // waits for meanwhile is a full queue.
    int32_t rest(int32_t t, int32_t oldest, int32_t limit) {
        if (!pending || !bank_free(oldest)) return t;
        const int32_t until = stop.low(t, limit);
        if (until > t) stalled_from = t;
        return until;
    }

  private:
    bool bank_free(int32_t oldest) const { return tag - oldest < banks; }

    Layer& layer;
    const int32_t banks;
    bool held = false, last = false;
    Lanes pending = 0;
    int32_t column = 0, rows_used = 0, quarter = -1;
    int32_t stalled_from = -1;
};

}  // namespace
}  // namespace cycle_model
