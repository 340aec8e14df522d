// Clock-exact model of the accelerator: one layer, without its arithmetic.
//
// What a block does in cycle t depends on what the others did before t, as in hardware; where a
// block's future is settled by what it has been given (an element's queue, a fetch of the
// sequencer), it is computed at once instead of cycle by cycle. Each header follows the hardware
// block that it is named for; this one is hw/top.py. What they share with the hardware, latencies
// above all, is in machine.hpp, which sim/cycle/header.py writes.

#include <cstring>

#include "sequencer.hpp"

namespace cycle_model {
namespace {

class Simulation {
  public:
    Simulation(const Machine& machine, const LayerInput& input, std::vector<Record>* log,
               volatile int64_t* progress, const volatile int32_t* cancel,
               HostPort* host = nullptr)
        : layer(machine, input, log), progress(progress), cancel(cancel), host(host), array(layer),
          write_back(layer, slices), drain(layer, array, write_back),
          sequencer(layer, array, drain, host) {
        slices.reserve(layer.machine.clusters);
        for (int k = 0; k < layer.machine.clusters; ++k) slices.emplace_back(layer, k);
    }

    // Fills the counters of a layer that is done.
    Status run(int64_t* counters) {
        int32_t t = 0;
        if (!host || !layer.in.first) layer.log.add(t, LAYER_STARTED);
        if (host) {
            if (const Status status = begin(t)) return status;
            if (layer.in.first) {
                layer.log.base = t;
                layer.log.add(t, LAYER_STARTED);
            }
        }
        // In a run of several layers LAYER is fetched while the counters of the one before are
        // written; behind a SYNC record it is not.
        if (host || layer.in.first) sequencer.start(t);
        else for (t = sequencer.start(-DUMP_CYCLES); t < 0; ++t) sequencer.step(t);
        for (bool done = false; !done; ++t) {
            if (interrupted(t)) return CANCELLED;
            done = cycle(t);
            if (layer.broken) return BAD_ADDRESS;
            if (host && host->broken) return DEADLOCK;
        }
        layer.counters[CYCLES] = sequencer.finished;
        for (; host && t < sequencer.finished; ++t) host_alone(false);
        std::copy(layer.counters, layer.counters + COUNTERS, counters);
        return DONE;
    }

  private:
    bool interrupted(int32_t t) {
        if (t & 0x3fff) return false;
        if (progress) *progress = t;
        return cancel && *cancel;
    }

    void host_alone(bool released) {
        host->step(Busy{});
        host->settle(released);
    }

    // What precedes a pass: the SYNC record after the one before, and a signal. `t` is then the cycle
    // in which LAYER is fetched.
    Status begin(int32_t& t) {
        if (!layer.in.first) {
            for (; t < sequencer.sync_acts(); ++t) host_alone(false);
            host_alone(true);
            ++t;
        }
        for (bool there = false; !there; ++t) {
            if (interrupted(t)) return CANCELLED;
            there = sequencer.wait_for_layer(t);
            host_alone(false);
            if (host->broken) return DEADLOCK;
        }
        return DONE;
    }

    // True: the layer is over.
    bool cycle(int32_t t) {
        drain.look(t);
        bool idle = true, full = false;
        for (int k = 0; k < layer.machine.clusters; ++k) {
            full |= slices[k].merge.full();
            idle &= slices[k].merge.idle(t);
            granted[k] = slices[k].step(t, array, busy);
        }
        const bool released = sequencer.step(t);
        array.step(t, granted, drain.draining());
        idle &= drain.step(t, full);
        write_back.step(t);
        for (auto& slice : slices) slice.merge.settle();
        if (host) {
            host->step(busy, layer.machine.shared_results && write_back.writes_result(t));
            host->settle(released);
        }
        return sequencer.settle(t, idle);
    }

    Layer layer;
    volatile int64_t* progress;
    const volatile int32_t* cancel;
    HostPort* host;
    Array array;
    std::vector<ActivationSlice> slices;
    WriteBack write_back;
    Drain drain;
    Sequencer sequencer;
    Busy busy;
    int granted[MOST_CLUSTERS] = {};    // by slice: the set whose walker it serves
};

}  // namespace
}  // namespace cycle_model

#pragma GCC visibility push(default)
extern "C" {

using namespace cycle_model;

// An empty event log; how many records it has; copies them, if `records` is not null, and frees it.
void* cycle_model_log_open() { return new std::vector<Record>; }

int64_t cycle_model_log_size(void* log) {
    return int64_t(static_cast<std::vector<Record>*>(log)->size());
}

void cycle_model_log_close(void* log, Record* records) {
    auto* whole = static_cast<std::vector<Record>*>(log);
    if (records) std::copy(whole->begin(), whole->end(), records);
    delete whole;
}

// Fills `counters`, in their order, and `log` unless it is null. 0, or 1: `*cancel` was set, 2: the
// program addresses memory that is not there.
int32_t cycle_model_layer(const Machine* machine, const LayerInput* input, int64_t* counters,
                          void* log, volatile int64_t* progress,
                          const volatile int32_t* cancel) {
    return Simulation(*machine, *input, static_cast<std::vector<Record>*>(log), progress, cancel)
        .run(counters);
}

// The passes of a streamed network in one run, with the host's packets. Counters of pass n begin
// at counters + COUNTERS * n. As `cycle_model_layer`; 3: program and host wait for each other;
// `*passes` tells how many are over.
int32_t cycle_model_stream(const Machine* machine, const LayerInput* inputs, int32_t count,
                           const Packet* packets, int64_t packet_count, int64_t* counters,
                           void* log, volatile int64_t* passes, const volatile int32_t* cancel) {
    HostPort host(*machine, packets, packet_count);
    while (!host.step(Busy{})) {}
    host.settle(false);
    host.running = true;
    for (int32_t n = 0; n < count; ++n) {
        Simulation simulation(*machine, inputs[n], static_cast<std::vector<Record>*>(log), nullptr,
                              cancel, &host);
        if (const int32_t status = simulation.run(counters + int64_t(COUNTERS) * n)) return status;
        *passes = n + 1;
    }
    return 0;
}

// Ones of every element's trits in every word, [word][element]: a word has `bytes` bytes, an
// element `stride` bits, of which those of its `rows` trits that say that it is not zero come first.
void cycle_model_counts(const uint8_t* trits, int64_t words, int64_t bytes, int32_t elements,
                        int32_t stride, int32_t rows, Count* counts) {
    if (rows == 16 && stride == 32) {
        for (int64_t w = 0; w < words; ++w)
            for (int p = 0; p < elements; ++p) {
                uint16_t mask;
                std::memcpy(&mask, trits + w * bytes + 4 * p, sizeof mask);
                counts[w * elements + p] = Count(__builtin_popcount(mask));
            }
        return;
    }
    for (int64_t w = 0; w < words; ++w)
        for (int p = 0; p < elements; ++p) {
            int count = 0;
            for (int r = 0; r < rows; ++r) {
                const int64_t bit = int64_t(stride) * p + r;
                count += trits[w * bytes + bit / 8] >> (bit % 8) & 1;
            }
            counts[w * elements + p] = Count(count);
        }
}

}  // extern "C"
#pragma GCC visibility pop
