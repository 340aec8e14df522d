// hw/walker.py: visits the activation words of a job.

#pragma once

#include "layer.hpp"

namespace cycle_model {
namespace {

// One column group of one output pixel.
struct Job {
    int32_t address, step_x, step_y, count_x, count_y, word_count, last_lanes;
    int32_t trit, trit_step_x, trit_step_y, rows_used;
    bool last;
    int32_t quarter;                    // of the rows that a wide group feeds, else -1
};

// Activations on their way to the zero skip.
struct Word {
    int32_t visible, column;
    Lanes pending;
    uint8_t skipped, rows_used;
    int8_t quarter;
    bool last;
};
static_assert(MOST_SCAN_WIDTH <= 8 * sizeof(Lanes), "a bit for every lane");
static_assert(MOST_SCAN_WIDTH <= UINT8_MAX && MOST_ROWS <= UINT8_MAX);

class Walker {
  public:
    // Activations of its slice, by address.
    Walker(Layer& layer, const Lanes* activations)
        : layer(layer), c(layer.machine), activations(activations), scan(c.scan),
          skip(c.skip_activations), credit(c.word_places) {}

    bool has_room() const {
        return c.job_places ? jobs.size() < uint32_t(c.job_places) : !active;
    }

    bool idle() const { return jobs.empty() && !active && credit == c.word_places; }

    bool wants_read() const { return active && credit && !nothing; }

    // It does nothing before it gets a job or a word is taken.
    bool rests() const { return active ? credit == 0 : jobs.empty(); }

    // A word is there, or on its way.
    bool has_words() const { return active || !words.empty(); }

    void offer(const Job& job, int32_t visible) { jobs.push() = {visible, job}; }

    // The oldest word, if it can be taken in cycle `t`.
    const Word* word(int32_t t) const {
        return words.empty() || words.front().visible > t ? nullptr : &words.front();
    }

    // In the cycle before `step`.
    void take() {
        words.pop();
        returned = 1;
    }

    // One cycle; `granted`: a read that it wants is served.
    void step(int32_t t, bool granted) {
        bool ended = !active;
        if (active && credit && (nothing || granted)) {
            ended = issue(t);
            if (layer.broken) return;
        }
        if (ended) begin(t);
        credit += returned;
        returned = 0;
    }

  private:
    struct Offered {
        int32_t visible;
        Job job;
    };

    // A word; true if it is the job's last.
    bool issue(int32_t t) {
        const bool final = nothing || !(words_left | columns_left | rows_left);
        Word& word = words.push();
        word.visible = t + WORD_LATENCY;
        word.column = trit;
        word.last = job.last && final;
        word.rows_used = uint8_t(job.rows_used);
        word.quarter = int8_t(job.quarter);
        word.pending = 0;
        word.skipped = 0;
        --credit;
        if (!nothing) {
            if (address >= layer.in.activation_depth) {
                layer.broken = true;
                return true;
            }
            const int lanes = words_left ? scan : job.last_lanes;
            const Lanes used = Lanes((uint64_t(1) << lanes) - 1);
            word.pending = skip ? activations[address] & used : used;
            word.skipped = uint8_t(lanes - __builtin_popcount(word.pending));
            ++layer.counters[ACTIVATION_READS];
        }
        if (final) return true;
        if (words_left) {
            --words_left;
            ++address;
            trit += scan;
            return false;
        }
        words_left = job.word_count - 1;
        if (columns_left) {
            --columns_left;
            address = position += job.step_x;
            trit = trit_position += job.trit_step_x;
        } else {
            columns_left = job.count_x - 1;
            --rows_left;
            address = position = row += job.step_y;
            trit = trit_position = trit_row += job.trit_step_y;
        }
        return false;
    }

    void begin(int32_t t) {
        active = !jobs.empty() && jobs.front().visible <= t;
        if (!active) return;
        job = jobs.front().job;
        jobs.pop();
        address = position = row = job.address;
        trit = trit_position = trit_row = job.trit;
        words_left = job.word_count - 1;
        columns_left = job.count_x - 1;
        rows_left = job.count_y - 1;
        nothing = job.count_x == 0 || job.count_y == 0;
    }

    Layer& layer;
    const Machine& c;
    const Lanes* activations;
    const int32_t scan;
    const bool skip;
    Ring<Offered, MOST_JOB_PLACES> jobs;
    bool active = false, nothing = false;
    Job job{};
    int32_t address = 0, position = 0, row = 0, trit = 0, trit_position = 0, trit_row = 0;
    int32_t words_left = 0, columns_left = 0, rows_left = 0;
    int32_t credit, returned = 0;
    Ring<Word, MOST_WORD_PLACES> words;
};

}  // namespace
}  // namespace cycle_model
