// hw/sequencer.py: reads the program and hands out the work of every output pixel. The time of every
// state follows from the fetches before it, up to the next one that waits for something.

#pragma once

#include "cluster.hpp"
#include "drain.hpp"
#include "host_port.hpp"

namespace cycle_model {
namespace {

class Sequencer {
  public:
    // `host`: of a streamed network, else null.
    Sequencer(Layer& layer, Array& array, Drain& drain, HostPort* host)
        : layer(layer), c(layer.machine), array(array), drain(drain), host(host) {}

    // SYNC, which precedes a pass, and the wait for a signal: in cycle `t` it does not wait, and LAYER
    // is fetched in the next one.
    int32_t sync_acts() const { return acts(LAYER_WORDS); }

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

    // LAYER is fetched from cycle `t` on.
    void start(int32_t t) {
        ready_at = layer.in.first ? c.clear_cycles : 0;
        enter_tile(t + acts(LAYER_WORDS) + 1);   // LAYER_CHECK acts when all words are there
    }

    // The beginning of a cycle, in states that wait for the host or the clusters; true: a release is
    // counted.
    bool wait(int32_t t) {
        const bool released = host && synchronize(t);
        if (group_from != NEVER) wait_for_group(t);
        return released;
    }

    // HAND_OUT. Whether the walkers have room, and the drain, shows before they move in this cycle.
    void hand_out(int32_t t) {
        if (t + 1 < offer) return;
        const bool room = array.has_room(set);
        bool accepted = t >= offer && t >= ready_at && (c.room_latency ? had_room : room);
        had_room = room;
        if (next_job.last && !drain.has_room()) accepted = false;
        if (accepted) accept(t);
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
    static_assert(CLUSTERS_IDLE_LATENCY == 1, "`array_idle` is of the cycle before");

    const Tile& tile() const { return layer.in.tiles[tile_number]; }
    const Group& group() const { return layer.in.groups[tile().first_group + group_number]; }

    // Cycles in which `n` words are requested.
    int32_t fetch(int32_t n) const { return n * c.program_reads; }

    // Cycles after a fetch of `n` words began in which the state that waits for them acts; the next
    // state follows.
    int32_t acts(int32_t n) const { return fetch(n) + c.fetch_latency; }

    void enter_tile(int32_t at) {       // TILE
        layer.log.add(at, TILE_STARTED, 0, tile_number);
        group_known = column_known = line_known = false;
        group_number = y = x = 0;
        enter_line(at + acts(TILE_WORDS) + 1);
    }

    void enter_line(int32_t at) {       // DESTINATION_Y
        while (layer.in.destination_y[y].count == 0) {
            at += acts(DESTINATION_WORDS) + 1;
            if (y == layer.fields.height - 1) return leave_tile(at);
            ++y;
        }
        enter_pixel(at + acts(DESTINATION_WORDS) + 1);
    }

    // GROUP waits until the clusters are idle. Those that are stay so until they get a job.
    bool wait_for_clusters(int32_t at, bool pixel) {
        if (c.job_places || known_idle) return false;
        group_from = at;
        group_of_pixel = pixel;
        offer = NEVER;
        return true;
    }

    void wait_for_group(int32_t t) {
        const bool idle = idle_for_group;
        idle_for_group = array.idle();
        if (t < group_from || !idle) return;
        group_from = NEVER;
        known_idle = true;
        if (group_of_pixel) enter_pixel(t, true);
        else prepare(fetch_group(t));
    }

    // DESTINATION_X, not waited for; or GROUP, which has waited.
    void enter_pixel(int32_t at, bool waited = false) {
        for (;; waited = false) {
            int32_t act;
            if (!waited) at += fetch(DESTINATION_WORDS);
            if (tile().group_count == 1 && group_known) {
                act = geometry_x(at);
            } else {
                if (wait_for_clusters(at, true)) return;
                act = fetch_group(at);
            }
            if (layer.in.destination_x[x].count) return prepare(act);
            // JOB finds that the pixel is not wanted.
            column_known = false;
            if (x == layer.fields.width - 1) return end_line(act + 1);
            ++x;
            at = act + 1;
        }
    }

    int32_t fetch_group(int32_t at) {   // GROUP; the cycle in which JOB acts
        at += acts(GROUP_WORDS) + 1;
        group_known = true;
        const bool same_x = column_known && table_x == group().table_x;
        const bool same_y = line_known && table_y == group().table_y;
        if (same_x && same_y) return at;
        return same_x ? geometry_y(at) : geometry_x(at);
    }

    int32_t geometry_x(int32_t at) {
        column_known = true;
        table_x = group().table_x;
        if (line_known && table_y == group().table_y) return at + acts(GEOMETRY_WORDS);
        return geometry_y(at + fetch(GEOMETRY_WORDS));
    }

    int32_t geometry_y(int32_t at) {
        line_known = true;
        table_y = group().table_y;
        return at + acts(GEOMETRY_WORDS);
    }

    // JOB acts in cycle `act`; the job is offered, or waits for a signal first.
    void prepare(int32_t act) {
        make_job();
        if (host && group().wait) {
            signal_from = act + 1;
            offer = NEVER;
        } else {
            offer = act + 1;
        }
    }

    void make_job() {
        const Group& g = group();
        const Geometry& gy = layer.in.geometry[g.geometry_y + y];
        const Geometry& gx = layer.in.geometry[g.geometry_x + x];
        next_job = {g.base + gy.offset + gx.offset, g.step_x, g.step_y, gx.count, gy.count,
                    g.word_count, g.last_lanes, g.trit_base + gy.trit_offset + gx.trit_offset,
                    g.trit_step_x, g.trit_step_y, tile().rows_used,
                    group_number == tile().group_count - 1, g.wide ? g.quarter : -1};
    }

    void accept(int32_t t) {
        known_idle = idle_for_group = false;
        array.hand_out(set, next_job, t + c.job_latency);
        if (!next_job.last) {
            const bool release = host && group().release;
            ++group_number;
            if (release) {
                release_from = t + RELEASE_LATENCY;
                offer = NEVER;
            } else if (!wait_for_clusters(t + 1, false)) {
                prepare(fetch_group(t + 1));
            }
            return;
        }
        const auto& to_y = layer.in.destination_y[y];
        const auto& to_x = layer.in.destination_x[x];
        const int32_t pixel = y * layer.fields.width + x;
        const int32_t address = layer.fields.base + to_y.offset + to_x.offset;
        drain.offer(t, {tile().rows_used, tile().row_base, address, pixel, tile_number,
                        {uint8_t(to_x.count), uint8_t(to_y.count), uint8_t(to_x.fresh),
                         uint8_t(to_y.fresh)}});
        layer.log.add(t, PIXEL_STARTED, set, tile_number, pixel);
        set = set == c.sets - 1 ? 0 : set + 1;
        group_number = 0;
        column_known = false;
        if (x == layer.fields.width - 1) return end_line(t + 1);
        ++x;
        enter_pixel(t + 1);
    }

    void end_line(int32_t at) {
        x = 0;
        line_known = false;
        if (y == layer.fields.height - 1) return leave_tile(at);
        ++y;
        enter_line(at);
    }

    void leave_tile(int32_t at) {       // NEXT_TILE
        offer = NEVER;
        if (++tile_number == layer.fields.tile_count) {
            settle_from = at + 1;
            return;
        }
        enter_tile(at + 1);
    }

    // SIGNAL and RELEASED; true: a release is counted.
    bool synchronize(int32_t t) {
        host->stuck = false;
        log_wait(t, t >= signal_from && !host->signals);
        if (t >= signal_from) {
            if (host->signals) {
                --host->signals;
                offer = t + 1;
                signal_from = NEVER;
            } else {
                ++layer.counters[STALL_REFILL];
                host->stuck = true;
            }
        }
        if (release_from == NEVER) return false;
        const bool idle = array_idle;
        array_idle = array.idle();
        if (t < release_from || !idle) return false;
        known_idle = true;
        release_from = NEVER;
        prepare(fetch_group(t + 1));
        return true;
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

    int tile_number = 0, y = 0, x = 0, group_number = 0, set = 0;
    Job next_job{};
    int32_t offer = NEVER, ready_at = 0, settle_from = NEVER;
    bool had_room = false;              // all walkers of the set, a cycle ago
    // What the records at hand are of.
    bool group_known = false, column_known = false, line_known = false;
    int32_t table_x = 0, table_y = 0;
    // Waits: for a signal, for a release, for a group's record.
    int32_t signal_from = NEVER, release_from = NEVER, group_from = NEVER;
    bool group_of_pixel = false, known_idle = false, idle_for_group = false, array_idle = false;
    bool refilling = false;             // for the log
    int32_t settling = 0;
    Delayed<DRAIN_IDLE_LATENCY> drain_idle;
};

}  // namespace
}  // namespace cycle_model
