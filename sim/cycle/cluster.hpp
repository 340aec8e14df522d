// hw/cluster.py: walker, zero skip and elements of one slice of the channels.

#pragma once

#include "processing_element.hpp"
#include "walker.hpp"
#include "zero_skip.hpp"

namespace cycle_model {
namespace {

class Cluster {
  public:
    // Number `index` of all, set by set.
    Cluster(Layer& layer, int index)
        : walker(layer, layer.in.activations
                            + (index % layer.machine.clusters) * layer.in.activation_depth),
          layer(layer), zero_skip(layer), elements(layer),
          counts(layer.in.counts + index * layer.in.columns * layer.machine.elements),
          weight_counts(layer.in.weight_counts
                        + index * layer.in.columns * layer.machine.elements),
          tag_mask(layer.machine.tags - 1) {
        std::fill_n(passed, MOST_TAGS, NEVER);
        std::fill_n(work_end, MOST_TAGS, 0);
    }

    Walker walker;

    bool idle() const { return walker.idle() && !zero_skip.holds(); }

    bool complete(int32_t t) const { return complete_at <= t; }

    // The awaited pixel is begun, and the next one awaited from cycle `t` on.
    void begin(int32_t t) {
        ++awaited;
        awaited_since = t;
        complete_at = NEVER;
        if (zero_skip.tag > awaited) finish(awaited);
    }

    // The oldest pixel that is left is drained, and its bank free from cycle `t` on.
    void free_bank(int32_t t) {
        frees.push() = t;
        oldest_at = frees.front();
    }

    // One cycle. `granted`: the slice serves this walker; `draining`: the oldest pixel of the set is
    // being drained.
    void step(int32_t t, bool granted, bool draining) {
        if (t >= oldest_at) advance();
        const auto sent = zero_skip.step(t, walker, oldest, draining);
        if (sent.column >= 0) broadcast(t, sent);
        if (sent.ends) pass(t, sent.tag);
        walker.step(t, granted);
    }

    // The first cycle from `t` on in which something can move, unless a job comes.
    int32_t rest(int32_t t) {
        if (!walker.rests()) return t;
        if (!zero_skip.holds()) return walker.has_words() ? t : oldest_at;
        return zero_skip.rest(t, oldest, oldest_at);
    }

  private:
    int slot(int32_t tag) const { return tag & tag_mask; }

    void broadcast(int32_t t, const ZeroSkip::Broadcast& sent) {
        if (sent.column >= layer.in.columns) {
            layer.broken = true;
            return;
        }
        const int32_t arrival = t + BROADCAST_LATENCY;
        const auto* own = sent.quarter < 0 ? counts : weight_counts;
        const auto pushed = elements.push(own + int64_t(sent.column) * layer.machine.elements,
                                          rows(sent), arrival);
        if (pushed.any) work_end[slot(sent.tag)] = pushed.work_end;
        // What comes may fill a queue, until as many have been taken.
        const int32_t full_from = arrival + FULL_LATENCY;
        const int32_t full_last = pushed.full_end + FULL_LATENCY - 1;
        if (full_last >= full_from) zero_skip.stop.raise(full_from, full_last);
    }

    // Rows in use that an entry is for.
    int32_t rows(const ZeroSkip::Broadcast& sent) const {
        if (sent.quarter < 0) return sent.rows_used;
        const int32_t each = layer.machine.quarter_rows;
        return std::clamp(sent.rows_used - sent.quarter * each, 0, each);
    }

    // The last word of a pixel is done.
    void pass(int32_t t, int32_t tag) {
        passed[slot(tag)] = t;
        if (tag == awaited) finish(tag);
        passed[slot(tag + 1)] = NEVER;
        work_end[slot(tag + 1)] = 0;
    }

    void advance() {
        ++oldest;
        frees.pop();
        oldest_at = frees.empty() ? NEVER : frees.front();
    }

    // The awaited pixel's last word is done. It is complete when the next one's tag has come to the
    // elements and none of them is at work for it.
    void finish(int32_t tag) {
        complete_at = std::max({passed[slot(tag)] + 1 + BROADCAST_LATENCY,
                                work_end[slot(tag)] + LOAD_LATENCY, awaited_since})
                      + COMPLETE_LATENCY;
    }

    Layer& layer;
    ZeroSkip zero_skip;
    Elements elements;
    const Count *counts, *weight_counts;    // [column][element]
    int32_t oldest = 0, oldest_at = NEVER, awaited = 0, awaited_since = 0, complete_at = NEVER;
    Ring<int32_t, MOST_TAGS> frees;     // when banks will be free
    // By tag: when its last word was done, and its last row.
    int32_t tag_mask, passed[MOST_TAGS], work_end[MOST_TAGS];
};

// The clusters of all sets.
class Array {
  public:
    explicit Array(Layer& layer)
        : c(layer.machine), wake(size_t(c.sets) * c.clusters, 0) {
        clusters.reserve(wake.size());
        for (size_t index = 0; index < wake.size(); ++index) clusters.emplace_back(layer, int(index));
    }

    const Cluster& at(int set, int slice) const { return clusters[size_t(set) * c.clusters + slice]; }

    // All walkers of a set have room for a job.
    bool has_room(int set) const {
        for (int k = 0; k < c.clusters; ++k)
            if (!at(set, k).walker.has_room()) return false;
        return true;
    }

    bool idle() const {
        for (const auto& cluster : clusters)
            if (!cluster.idle()) return false;
        return true;
    }

    // All clusters of a set report the awaited pixel complete.
    bool complete(int set, int32_t t) const {
        for (int k = 0; k < c.clusters; ++k)
            if (!at(set, k).complete(t)) return false;
        return true;
    }

    void hand_out(int set, const Job& job, int32_t visible) {
        for (int k = 0; k < c.clusters; ++k) {
            const size_t index = size_t(set) * c.clusters + k;
            clusters[index].walker.offer(job, visible);
            wake[index] = std::min(wake[index], visible);
        }
    }

    // The drain begins a set's awaited pixel in cycle `t`.
    void begin(int set, int32_t t) {
        for (int k = 0; k < c.clusters; ++k)
            clusters[size_t(set) * c.clusters + k].begin(t + BEGIN_LATENCY);
    }

    // The drain takes the last row of a set's oldest pixel in cycle `t`.
    void free_bank(int set, int32_t t) {
        for (int k = 0; k < c.clusters; ++k) {
            const size_t index = size_t(set) * c.clusters + k;
            clusters[index].free_bank(t + OLDEST_LATENCY + k);
            wake[index] = std::min(wake[index], t + OLDEST_LATENCY + k);
        }
    }

    // One cycle; `granted`: by slice, the set whose walker it serves, `draining`: the set whose
    // oldest pixel is being drained, or -1.
    void step(int32_t t, const int* granted, int draining) {
        for (int k = 0; k < c.clusters; ++k) {
            for (int n = 0; n < c.sets; ++n) {
                const size_t index = size_t(n) * c.clusters + k;
                if (t < wake[index]) continue;
                clusters[index].step(t, n == granted[k], n == draining);
                wake[index] = clusters[index].rest(t + 1);
            }
        }
    }

  private:
    const Machine& c;
    std::vector<Cluster> clusters;
    std::vector<int32_t> wake;          // when each has to be looked at again
};

}  // namespace
}  // namespace cycle_model
