// hw/sequencer.py: reads the program and hands out the work of every output pixel.

#pragma once

#include "cluster.hpp"
#include "drain.hpp"
#include "host_port.hpp"
#include "job_assembler.hpp"
#include "tile_reader.hpp"

namespace cycle_model {
namespace {

class Sequencer {
  public:
    // `host`: of a streamed network, else null.
    Sequencer(Layer& layer, Array& array, Drain& drain, HostPort* host)
        : layer(layer), c(layer.machine), array(array), drain(drain), host(host), words(c),
          reader(layer, words), assembler(layer) {}

    // SYNC, which precedes a pass, and the wait for a signal: in cycle `t` it does not wait, and LAYER
    // is fetched in the next one. SYNC is fetched while the counters are written.
    int32_t sync_acts() const { return std::max(0, words.acts(LAYER_WORDS) - DUMP_CYCLES); }

    bool wait_for_layer(int32_t t) {
        const bool there = host->signals > 0;
        if (!there) {
            if (!layer.in.first) log_wait(t, true);
            ++layer.counters[STALL_REFILL];
        } else {
            log_wait(t, false);
            --host->signals;
        }
        host->stuck = !there;
        return there;
    }

    // LAYER is fetched from cycle `t` on; before 0 the counters of the layer before are written, and
    // nothing is handed out. Returns the first cycle to step, 0 at the latest.
    int32_t start(int32_t t) {
        ready_at = layer.in.first ? c.clear_cycles : 0;
        begin = t + words.acts(LAYER_WORDS) + 1;   // LAYER_CHECK acts when all words are there
        return std::min(0, begin);
    }

    // One cycle; whether the walkers have room, and the drain, shows before they move in it. True: a
    // release is counted.
    bool step(int32_t t) {
        if (t < begin || settle_from != NEVER) return false;
        if (reader.finished() && words.empty() && assembler.empty()) settle_from = t + 1;
        if (host && t >= 0) wait_for_signal(t);
        const bool released = held && idle_before;
        const bool idle = watches_idle() && array.idle();
        const bool accepts = accepted(t);
        held = holding && !released;
        if (released) holding = false;
        const bool group_free = c.job_places || idle_before;
        idle_before = idle && !accepts;

        const auto came = assembler.step(words, t, accepts);
        reader.step(t, group_free);
        words.step(came.taken, accepts || came.dropped);
        if (accepts) hand_out(t);
        return released;
    }

    // SETTLE and DUMP; `idle`: drain and merges have nothing left. True: the layer is over, and
    // `finished` the cycle after its last.
    bool settle(int32_t t, bool idle) {
        bool over = false;
        if (t < settle_from || !drain_idle) {
            settling = c.settle;
        } else if (settling) {
            --settling;
        } else {
            layer.log.add(t, LAYER_SETTLED);
            finished = t + 1 + DUMP_CYCLES;
            over = true;
        }
        drain_idle.step(idle);
        return over;
    }

    int32_t finished = 0;

  private:
    static_assert(CLUSTERS_IDLE_LATENCY == 1, "`idle_before` is of the cycle before");
    static_assert(RELEASE_LATENCY == 2, "`held` is a cycle behind `holding`");

    bool watches_idle() const { return holding || !c.job_places; }

    // A group's `wait`.
    void wait_for_signal(int32_t t) {
        const auto* job = assembler.job();
        const bool waits = job && job->group->wait && !signalled && !holding;
        host->stuck = false;
        log_wait(t, waits && !host->signals);
        if (!waits) {
            may_go = !job || !job->group->wait || signalled;
        } else if (host->signals) {
            --host->signals;
            signalled = true;
            may_go = false;
        } else {
            ++layer.counters[STALL_REFILL];
            host->stuck = true;
            may_go = false;
        }
    }

    bool accepted(int32_t t) {
        const auto* job = assembler.job();
        if (!job && !assembler.comes()) return false;
        const bool room = array.has_room(set), before = had_room;
        had_room = room;
        return job && may_go && !holding && t >= ready_at && (c.room_latency ? before : room)
               && (!job->last || drain.has_room());
    }

    void hand_out(int32_t t) {
        const PixelJob& job = assembler.handed_out();
        const Tile& tile = layer.in.tiles[job.tile];
        array.hand_out(set, assembler.walk(job), t + c.job_latency);
        signalled = false;
        may_go = true;
        if (job.begins) layer.log.add(t, TILE_STARTED, 0, job.tile);
        if (!job.last) {
            holding = host && job.group->release;
            return;
        }
        const auto& to_y = layer.in.destination_y[job.y];
        const auto& to_x = layer.in.destination_x[job.x];
        const int32_t pixel = job.y * layer.fields.width + job.x;
        const int32_t address = layer.fields.base + to_y.offset + to_x.offset;
        drain.offer(t, {tile.rows_used, tile.row_base, address, pixel, job.tile,
                        {uint8_t(to_x.count), uint8_t(to_y.count), uint8_t(to_x.fresh),
                         uint8_t(to_y.fresh)}});
        layer.log.add(t, PIXEL_STARTED, set, job.tile, pixel);
        set = set == c.sets - 1 ? 0 : set + 1;
    }

    void log_wait(int32_t t, bool now) {
        if (now != refilling) layer.log.add(t, now ? REFILL_WAIT_BEGAN : REFILL_WAIT_ENDED);
        refilling = now;
    }

    Layer& layer;
    const Machine& c;
    Array& array;
    Drain& drain;
    HostPort* host;
    Words words;
    TileReader reader;
    JobAssembler assembler;

    int set = 0;
    int32_t begin = 0, ready_at = 0, settle_from = NEVER;
    bool had_room = false;              // all walkers of the set, a cycle ago
    bool signalled = false, may_go = true;
    bool holding = false, held = false; // a release is to be counted; it shows in `idle_before`
    bool idle_before = false;           // the clusters
    bool refilling = false;             // for the log
    int32_t settling = 0;
    Delayed<DRAIN_IDLE_LATENCY> drain_idle;
};

}  // namespace
}  // namespace cycle_model
