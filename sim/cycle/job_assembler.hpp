// hw/job_assembler.py: makes jobs of the program's words.

#pragma once

#include "tile_reader.hpp"
#include "walker.hpp"

namespace cycle_model {
namespace {

// One column group of one output pixel.
struct PixelJob {
    const Group* group;
    int32_t tile, y, x;
    bool last, begins;
};

class JobAssembler {
  public:
    explicit JobAssembler(Layer& layer) : layer(layer) {}

    struct Came {
        bool taken, dropped;
    };

    bool empty() const { return !shown && !ended; }

    // The job that is there, and whether one comes in the next cycle.
    const PixelJob* job() const { return shown ? &current : nullptr; }
    bool comes() const { return ended; }

    // The job that was there in the cycle before `step` made room.
    const PixelJob& handed_out() const { return accepted; }

    // One cycle; the job that is there is accepted.
    Came step(Words& words, int32_t t, bool accepts) {
        const bool load = ended && !shown, ready = !ended || !shown;
        Came came{false, false};
        if (accepts) {
            accepted = current;
            shown = false;
        }
        if (load) {
            ended = false;
            came.dropped = !layer.in.destination_x[made.x].count;
            if (!came.dropped) {
                shown = true;
                current = made;
                current.begins = begins;
                begins = false;
            }
        }
        const ProgramWord* word = ready ? words.front(t) : nullptr;
        if (!word) return came;
        came.taken = true;
        if (word->kind == ProgramWord::TILE) begins = true;
        if (word->kind == ProgramWord::JOB) {
            ended = true;
            made = {&layer.in.groups[word->group], word->tile, word->y, word->x, word->last, false};
        }
        words.take();
        return came;
    }

    // What the walkers get.
    Job walk(const PixelJob& job) const {
        const Group& g = *job.group;
        const Geometry& y = layer.in.geometry[g.geometry_y + job.y];
        const Geometry& x = layer.in.geometry[g.geometry_x + job.x];
        return {g.base + y.offset + x.offset, g.step_x, g.step_y, x.count, y.count, g.word_count,
                g.last_lanes, g.trit_base + y.trit_offset + x.trit_offset, g.trit_step_x,
                g.trit_step_y, layer.in.tiles[job.tile].rows_used, job.last,
                g.wide ? g.quarter : -1};
    }

  private:
    Layer& layer;
    bool shown = false, ended = false, begins = false;
    PixelJob current{}, made{}, accepted{};
};

}  // namespace
}  // namespace cycle_model
