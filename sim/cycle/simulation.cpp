// Clock-exact model of the accelerator: one layer, without its arithmetic.
//
// Time is in clock cycles from the layer's first fetch. What a block does in cycle t depends on
// what the others did before t, as in hardware; where a block's future is settled by what it has been
// given (an element's queue, a fetch of the sequencer), it is computed at once instead of cycle by
// cycle. The comments name the hardware module whose timing is meant.

#include <algorithm>
#include <climits>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int NEVER = INT_MAX / 2;
constexpr int MOST_JOBS = 16;      // walker.py; limits of config.py
constexpr int MOST_WORDS = 16;      // walker.py
constexpr int FLIGHT = 4;          // zero skip to element queue, cluster.py

enum Counter {
    BROADCASTS, SKIPPED, READS, QUEUE_WRITES, ADDS, EMPTY_SCANS, QUEUE_FULL, IMBALANCE, DRAIN,
    DRAIN_STEPS, WRITE_BACK, MERGE_READS, WRITE_BACKS, RESULT_WRITES, REFILL, CYCLES,
    COUNTERS
};

enum Event { EVENT_KINDS };         // those of event_log.py

}  // namespace

extern "C" {

// All sizes that matter; the order is that of `_Machine` in cycle.py.
struct Machine {
    int32_t sets, clusters, elements, rows, depth, scan, banks, lanes;
    int32_t skip_weights, skip_activations, merge_places, merge_level, settle, clear;
    int32_t layer_words, tile_words, group_words, job_places;
    int32_t buffer_words, packet_places, read_chunks;
    int32_t word_places, pixels_ahead, program_reads, memory_ports, few_stages, shared_results;
    int32_t write_back, result_write, fetch_latency;
};

struct LayerFields {
    int32_t raw, is_signed, tile_count, height, width, step_x, step_y, base, group_count;
};

struct Tile {
    int32_t rows_used, group_count, row_base, first_group;
};

struct Group {
    int32_t base, geometry_y, geometry_x, word_count, last_lanes, step_x, step_y;
    int32_t trit_base, trit_step_x, trit_step_y, table_y, table_x, wait, release;
};

struct Destination {
    int32_t offset, count, fresh;
};

struct Geometry {
    int32_t offset, count, trit_offset;
};

struct RowLane {
    int32_t enable, cluster, word, lane;
};

struct Record {
    int32_t time, kind, set, tile, pixel;
};

// A packet that the host sends. It goes on to the next one when the packet is sent and, where
// `answers` is not 0, so many answers have come.
struct Packet {
    int32_t opcode;
    int32_t slice;                  // of the activation memory; -1: another memory
    int32_t count;                  // memory words to read
    int32_t length;                 // words after the header
    int32_t answers;
};

// What a layer is computed from. Activation masks have a bit for every lane that is not zero.
struct LayerInput {
    const LayerFields* layer;
    const Destination* destination_y;
    const Destination* destination_x;
    const Tile* tiles;
    const Group* groups;
    const Geometry* geometry;       // all tables; groups point to them by entry
    const RowLane* row_lanes;       // lanes of the row memory, entry by entry
    const uint8_t* counts;          // nonzero trits: [cluster][column][element]
    int64_t columns;                // per cluster
    const uint16_t* activations;    // [slice][address]
    int64_t activation_depth;
    const uint16_t* outputs;        // [slice][pixel][word] before pooling, null: not pooled
    int32_t output_words;
    int32_t first;                  // the run's first layer: accumulators are cleared meanwhile
};

}  // extern "C"

namespace {

// The host and the host port (packet_buffer.py, host_port.py), a cycle at a time. The host offers a
// word in every cycle, and takes every word that is answered.
class Host {
  public:
    Host(const Machine& machine, const Packet* packets, int64_t count)
        : c(machine), packets(packets), count(count) {}

    int32_t signals = 0, releases = 0;      // sequencer.py
    bool running = false;

    // One cycle; busy slices serve others first, and a result that is written where the packets'
    // words are. True: the program starts.
    bool step(const uint8_t* reading, const uint8_t* writing, bool result = false) {
        bool start = false, end = false;
        const bool valid = waiting > 0, word = valid && fresh;
        bool answered = answer(reading);
        int32_t taken = 0;
        // What is written waits in a queue of two until its slice takes it; with few stages in the
        // packet buffer.
        const bool room = c.few_stages ? !(packets[done].slice >= 0 && writing
                                           && writing[packets[done].slice])
                                       : stored < 2;
        bool storing = false;
        switch (state) {
            case HEADER:
                if (word) { taken = 1; state = LENGTH; }
                break;
            case LENGTH:
                if (word) { taken = 1; state = OPCODE; left = packets[done].length; }
                break;
            case OPCODE:
                if (packets[done].opcode != 1 && stored) break;
                switch (packets[done].opcode) {
                    case 6: state = SIGNAL; break;
                    case 7: state = WAIT; break;
                    default: state = ADDRESS;
                }
                break;
            case ADDRESS:
                if (word) { taken = 1; --left; state = COUNT; }
                break;
            case COUNT:
                if (word) { taken = 1; --left; state = CHECK; }
                break;
            case CHECK:
                state = DECIDE;
                break;
            case DECIDE:
                switch (packets[done].opcode) {
                    case 1: state = WRITE; break;
                    case 2: state = START; break;
                    default: state = QUEUE;
                }
                break;
            case START:
                start = true;
                state = END;
                break;
            case WRITE:
                if (word && room) {
                    taken = 1;
                    storing = true;
                    if (--left == 0) state = END;
                }
                break;
            case QUEUE:
                requests[request_tail++ % PLACES] = {packets[done].slice, packets[done].count};
                state = END;
                break;
            case SIGNAL:
                ++signalled;
                state = END;
                break;
            case WAIT:
                if (releases > 0 || !running) {
                    taken_releases = releases > 0;
                    state = END;
                } else if (stuck) {
                    broken = true;
                }
                break;
            case END:
                end = true;
                state = HEADER;
                break;
        }
        if (stored && !(store[0] >= 0 && writing && writing[store[0]])) {
            store[0] = store[1];
            --stored;
        }
        if (storing && !c.few_stages) store[stored++] = packets[done].slice;
        // Packet buffer.
        int32_t arrived = 0;
        const bool ready = waiting < c.packet_places && received - consumed < c.buffer_words
                           && !result;
        const bool offer = sending < count && !holding;
        if (offer && ready) {
            ++received;
            if (++index == packets[sending].length + 2) {
                index = 0;
                arrived = 1;
                wanted = packets[sending].answers;
                ++sending;
                holding = wanted > 0;
            }
        }
        if (answered && wanted > 0 && --wanted == 0) holding = false;
        fresh = valid && !end;
        consumed += taken;
        waiting += arrived - int32_t(end);
        if (end) ++done;
        request_level = request_tail - request_head;
        return start;
    }

    // What the sequencer sees from the next cycle on.
    void settle(int32_t released) {
        signals += signalled;
        releases += released - taken_releases;
        signalled = taken_releases = 0;
    }

    bool stuck = false;                     // the program waits for a signal
    bool broken = false;                    // and the host for the program

  private:
    enum State { HEADER, LENGTH, OPCODE, ADDRESS, COUNT, CHECK, DECIDE, START, WRITE, QUEUE, SIGNAL,
                 WAIT, END };
    enum Answer { A_IDLE, A_HEADER, A_LENGTH, A_FETCH, A_ARRIVE, A_DATA };
    static constexpr int PLACES = 8;
    struct Request { int32_t slice, count; };

    const Machine& c;
    const Packet* packets;
    int64_t count;
    int64_t sending = 0, done = 0;
    int32_t index = 0, wanted = 0;
    bool holding = false;
    int64_t received = 0, consumed = 0;
    int32_t waiting = 0, left = 0, signalled = 0, taken_releases = 0;
    bool fresh = false;
    int32_t stored = 0, store[3] = {};  // slices
    State state = HEADER;

    Answer answering = A_IDLE;
    Request requests[PLACES], current{};
    uint32_t request_head = 0, request_tail = 0, request_level = 0;
    int32_t words_left = 0, chunk = 0, arrives = 0;

    // True in the cycle of an answer's last word.
    bool answer(const uint8_t* reading) {
        switch (answering) {
            case A_IDLE:
                if (request_level) {
                    current = requests[request_head++ % PLACES];
                    answering = A_HEADER;
                }
                return false;
            case A_HEADER:
                answering = A_LENGTH;
                return false;
            case A_LENGTH:
                words_left = current.count;
                chunk = 0;
                answering = A_FETCH;
                return false;
            case A_FETCH:
                if (!(current.slice >= 0 && reading && reading[current.slice])) {
                    answering = A_ARRIVE;
                    arrives = 2;
                }
                return false;
            case A_ARRIVE:
                if (--arrives == 0) answering = A_DATA;
                return false;
            case A_DATA:
                if (++chunk < (current.slice >= 0 ? c.read_chunks : 1)) return false;
                chunk = 0;
                answering = --words_left ? A_FETCH : A_IDLE;
                return words_left == 0;
        }
        return false;
    }
};

struct Job {
    int32_t address, step_x, step_y, count_x, count_y, word_count, last_lanes;
    int32_t trit, trit_step_x, trit_step_y, rows_used;
    bool last;
};

struct Word {
    int32_t visible, column;
    uint16_t pending;
    uint8_t skipped, rows_used;
    bool last;
};

struct DrainJob {
    int32_t visible, steps, row_base, address, pixel, tile;
    uint8_t count_x, count_y, fresh_x, fresh_y;
};

template <class T, int SIZE>
struct Ring {
    T items[SIZE];
    uint32_t head = 0, tail = 0;
    uint32_t size() const { return tail - head; }
    bool empty() const { return head == tail; }
    T& front() { return items[head % SIZE]; }
    T& push() { return items[tail++ % SIZE]; }
    void pop() { ++head; }
};

// Walker, zero skip and elements of one cluster.
struct Cluster {
    // Walker.
    Ring<Job, MOST_JOBS> jobs;
    int32_t job_visible[MOST_JOBS];
    bool active = false, nothing = false;
    Job job{};
    int32_t address, position, row, trit, trit_position, trit_row;
    int32_t words_left, columns_left, rows_left, credit;
    Ring<Word, 2 * MOST_WORDS> words;
    // Zero skip. Tags count pixels of this set.
    bool held = false, last = false;
    uint16_t pending = 0;
    int32_t column, rows_used, tag = 0, oldest = 0;
    int32_t oldest_at = NEVER, oldest_since = 0, complete_at = NEVER;
    // Queue-full intervals: ends that take effect later, and the latest end in effect.
    int32_t full_end[8] = {}, full_until = -1, seen = -1, stalled_from = -1;
    // By tag modulo 2 * banks: when its last word was done, and its last addition.
    int32_t passed[16], work_end[16];
    const uint8_t* counts;
    const uint16_t* activations;
    // Elements: when each is free, how many entries it has had, when each was taken.
    std::vector<int32_t> free_at, entries, taken;
};

struct WriteBack {
    int32_t visible, address, lane;
    uint8_t count_x, count_y, fresh_x, fresh_y;
};

struct Slice {
    std::vector<WriteBack> queue;
    uint32_t head = 0, tail = 0;
    // The oldest write-back, and where its visits are.
    bool shown = false;
    WriteBack first{};
    int32_t x = 0, y = 0;
    // The visit at hand.
    bool pending = false, merge = false;
    int32_t address = 0, lane = 0;
    // The last three visits: pipeline of the memory and the write register.
    int32_t visit_time[3] = {-NEVER, -NEVER, -NEVER}, visit_address[3], visit_lane[3];
    int turn = 0;
    int32_t level[2] = {0, 0};     // of the two cycles before
    bool reading = false;
};

class Simulation {
  public:
    Simulation(const Machine& machine, const LayerInput& input, int64_t* counters,
               std::vector<Record>* log, volatile int64_t* progress,
               const volatile int32_t* cancel, Host* host = nullptr)
        : c(machine), in(input), layer(*input.layer), counters(counters), log(log),
          progress(progress), cancel(cancel), host(host) {
        ring = 1;
        while (ring < c.depth) ring *= 2;
        clusters.resize(size_t(c.sets) * c.clusters);
        for (size_t i = 0; i < clusters.size(); ++i) {
            auto& cluster = clusters[i];
            cluster.counts = in.counts + i * in.columns * c.elements;
            cluster.activations = in.activations + (i % c.clusters) * in.activation_depth;
            cluster.free_at.assign(c.elements, 0);
            cluster.entries.assign(c.elements, 0);
            cluster.taken.assign(size_t(ring) * c.elements, -NEVER);
            cluster.credit = c.word_places;
            std::fill_n(cluster.passed, 16, NEVER);
            std::fill_n(cluster.work_end, 16, 0);
        }
        wake.assign(clusters.size(), 0);
        slices.resize(c.clusters);
        for (auto& slice : slices) slice.queue.resize(c.merge_places);
        delay.assign(DELAY, {-1, nullptr});
        // Slots outlive their jobs by the time that steps take to the slices.
        drain_jobs.resize(size_t(c.pixels_ahead) + DELAY);
    }

    // 0, or 1: cancelled, 2: an address beyond its memory, 3: program and host wait for each other.
    int run() {
        int32_t t = 0;
        if (!host || !in.first) record(t, LAYER_STARTED, 0, 0, 0);
        if (host) {
            if (const int status = begin(t)) return status;
            if (in.first) {
                base = t;
                record(t, LAYER_STARTED, 0, 0, 0);
            }
        }
        enter_tile(t + acts(c.layer_words) + 1);   // LAYER_CHECK acts when all words are there
        ready_at = in.first ? c.clear : 0;
        while (!done) {
            if ((t & 0x3fff) == 0) {
                if (progress) *progress = t;
                if (cancel && *cancel) return 1;
            }
            cycle(t);
            if (broken) return 2;
            if (host && host->broken) return 3;
            ++t;
        }
        counters[CYCLES] = finished;
        for (; host && t < finished; ++t) host_alone(0);
        return 0;
    }

  private:
    bool released = false;              // in this cycle
    uint8_t reading[256] = {}, writing[256] = {};   // slices that do not serve the host
    int granted[256] = {};              // set whose walker each slice serves

    bool refilling = false;             // for the log
    int32_t base = 0;                   // of its times

    void log_wait(int32_t t, bool now) {
        if (now != refilling) record(t, now ? REFILL_WAIT_BEGAN : REFILL_WAIT_ENDED, 0, 0, 0);
        refilling = now;
    }

    void host_alone(int32_t release) {
        host->step(nullptr, nullptr);
        host->settle(release);
    }

    // What precedes a pass: the SYNC record after the one before, and a signal. `t` is then the cycle
    // in which LAYER is fetched.
    int begin(int32_t& t) {
        if (!in.first) {
            for (; t < acts(c.layer_words); ++t) host_alone(0);
            host_alone(1);
            ++t;
        }
        for (;; ++t) {
            if ((t & 0x3fff) == 0 && cancel && *cancel) return 1;
            if (host->signals) break;
            if (!in.first) log_wait(t, true);
            ++counters[REFILL];
            host->stuck = true;
            host_alone(0);
            if (host->broken) return 3;
        }
        log_wait(t, false);
        host->stuck = false;
        --host->signals;
        host_alone(0);
        ++t;
        return 0;
    }

    static constexpr int DELAY = 128;
    struct Step {
        int32_t entry;
        const DrainJob* job;
    };

    const Machine& c;
    const LayerInput& in;
    const LayerFields& layer;
    int64_t* counters;
    std::vector<Record>* log;
    volatile int64_t* progress;
    const volatile int32_t* cancel;
    Host* host;
    int ring;
    std::vector<Cluster> clusters;
    std::vector<Slice> slices;
    std::vector<int32_t> wake;          // of every cluster
    bool done = false, broken = false;
    int32_t finished = 0;

    void record(int32_t time, Event kind, int32_t set, int32_t tile, int32_t pixel) {
        if (log) log->push_back({time - base, kind, set, tile, pixel});
    }

    // ----- sequencer.py: the time of every state follows from the fetches

    int tile_number = 0, y = 0, x = 0, group_number = 0, set = 0;
    int32_t offer = NEVER, settle_from = NEVER, ready_at = 0, pixel_number = 0;
    bool had_room = false;              // all walkers of the set, a cycle ago
    int32_t signal_from = NEVER, release_from = NEVER;
    bool idle_before = false;
    int32_t group_from = NEVER;
    bool group_of_pixel = false, known_idle = false, idle_for_group = false;
    bool group_known = false, column_known = false, line_known = false;
    int32_t table_x = 0, table_y = 0;
    Job next_job;

    const Tile& tile() const { return in.tiles[tile_number]; }
    const Group& group() const { return in.groups[tile().first_group + group_number]; }

    // Cycles in which `n` words are requested.
    int32_t fetch(int32_t n) const { return n * c.program_reads; }

    // Cycles after a fetch of `n` words began in which the state that waits for them acts; the next
    // state follows.
    int32_t acts(int32_t n) const { return fetch(n) + c.fetch_latency; }

    void enter_tile(int32_t at) {       // TILE
        record(at, TILE_STARTED, 0, tile_number, 0);
        group_known = column_known = line_known = false;
        group_number = y = x = 0;
        enter_line(at + acts(c.tile_words) + 1);
    }

    void enter_line(int32_t at) {       // DESTINATION_Y: one word
        while (in.destination_y[y].count == 0) {
            at += acts(1) + 1;
            if (y == layer.height - 1) return leave_tile(at);
            ++y;
        }
        enter_pixel(at + acts(1) + 1);
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
        idle_for_group = clusters_idle();
        if (t < group_from || !idle) return;
        group_from = NEVER;
        known_idle = true;
        if (group_of_pixel) enter_pixel(t, true);
        else prepare(fetch_group(t));
    }

    // DESTINATION_X: one word, not waited for; or GROUP, which has waited.
    void enter_pixel(int32_t at, bool waited = false) {
        for (;; waited = false) {
            int32_t act;
            if (!waited) at += fetch(1);
            if (tile().group_count == 1 && group_known) {
                act = geometry_x(at);
            } else {
                if (wait_for_clusters(at, true)) return;
                act = fetch_group(at);
            }
            if (in.destination_x[x].count) {
                prepare(act);
                return;
            }
            // JOB finds that the pixel is not wanted.
            column_known = false;
            if (x == layer.width - 1) {
                end_line(act + 1);
                return;
            }
            ++x;
            at = act + 1;
        }
    }

    int32_t fetch_group(int32_t at) {   // GROUP; the cycle in which JOB acts
        at += acts(c.group_words) + 1;
        group_known = true;
        const bool same_x = column_known && table_x == group().table_x;
        const bool same_y = line_known && table_y == group().table_y;
        if (same_x && same_y) return at;
        return same_x ? geometry_y(at) : geometry_x(at);
    }

    int32_t geometry_x(int32_t at) {    // two words
        column_known = true;
        table_x = group().table_x;
        if (line_known && table_y == group().table_y) return at + acts(2);
        return geometry_y(at + fetch(2));
    }

    int32_t geometry_y(int32_t at) {
        line_known = true;
        table_y = group().table_y;
        return at + acts(2);
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
        const Geometry& gy = in.geometry[g.geometry_y + y];
        const Geometry& gx = in.geometry[g.geometry_x + x];
        next_job = {g.base + gy.offset + gx.offset, g.step_x, g.step_y, gx.count, gy.count,
                    g.word_count, g.last_lanes, g.trit_base + gy.trit_offset + gx.trit_offset,
                    g.trit_step_x, g.trit_step_y, tile().rows_used,
                    group_number == tile().group_count - 1};
    }

    void end_line(int32_t at) {
        x = 0;
        line_known = false;
        if (y == layer.height - 1) return leave_tile(at);
        ++y;
        enter_line(at);
    }

    void leave_tile(int32_t at) {       // NEXT_TILE
        offer = NEVER;
        if (++tile_number == layer.tile_count) {
            settle_from = at + 1;
            return;
        }
        enter_tile(at + 1);
    }

    // All walkers of the set, for a job.
    bool have_room() const {
        const auto* members = &clusters[size_t(set) * c.clusters];
        for (int k = 0; k < c.clusters; ++k)
            if (c.job_places ? members[k].jobs.size() >= uint32_t(c.job_places)
                             : members[k].active)
                return false;
        return true;
    }

    void hand_out(int32_t t) {
        const int32_t queued = c.job_places > 0;    // or taken at once
        known_idle = idle_for_group = false;
        auto* members = &clusters[size_t(set) * c.clusters];
        for (int k = 0; k < c.clusters; ++k) {
            auto& cluster = members[k];
            cluster.job_visible[cluster.jobs.tail % MOST_JOBS] = t + queued;
            cluster.jobs.push() = next_job;
            int32_t& at = wake[size_t(set) * c.clusters + k];
            at = std::min(at, t + queued);
        }
        if (!next_job.last) {
            const bool release = host && group().release;
            ++group_number;
            if (release) {
                release_from = t + 2;
                offer = NEVER;
            } else if (!wait_for_clusters(t + 1, false)) {
                prepare(fetch_group(t + 1));
            }
            return;
        }
        const auto& dy = in.destination_y[y];
        const auto& dx = in.destination_x[x];
        auto& job = drain_jobs[drain_tail++ % drain_jobs.size()];
        job.visible = t + 1;
        job.steps = tile().rows_used * (c.elements / c.lanes);
        job.row_base = tile().row_base;
        job.address = layer.base + dy.offset + dx.offset;
        job.pixel = y * layer.width + x;
        job.tile = tile_number;
        job.count_x = uint8_t(dx.count);
        job.count_y = uint8_t(dy.count);
        job.fresh_x = uint8_t(dx.fresh);
        job.fresh_y = uint8_t(dy.fresh);
        record(t, PIXEL_STARTED, set, tile_number, job.pixel);
        set = set == c.sets - 1 ? 0 : set + 1;
        group_number = 0;
        column_known = false;
        if (x < layer.width - 1) {
            ++x;
            enter_pixel(t + 1);
        } else {
            end_line(t + 1);
        }
    }

    // ----- drain.py

    std::vector<DrainJob> drain_jobs;
    uint32_t drain_head = 0, drain_tail = 0;
    int drain_set = 0;
    int32_t step_number = -1;           // -1: WAIT
    bool stalled = false;               // for the log
    bool stop = false, full_before = false, drain_busy = false;
    std::vector<Step> delay;            // steps on their way to the slices
    uint8_t result_due[DELAY] = {};     // cycles in which one of them is a result to write
    int32_t in_flight = 0;

    bool set_complete(int number, int32_t t) const {
        const auto* members = &clusters[size_t(number) * c.clusters];
        for (int k = 0; k < c.clusters; ++k)
            if (members[k].complete_at > t) return false;
        return true;
    }

    void log_stall(int32_t t, Event kind) {
        const auto& job = drain_jobs[drain_head % drain_jobs.size()];
        record(t, kind, drain_set, job.tile, job.pixel);
    }

    // The last one of a tile that is computed.
    int32_t last_pixel() const {
        int last_y = layer.height - 1, last_x = layer.width - 1;
        while (last_y > 0 && !in.destination_y[last_y].count) --last_y;
        while (last_x > 0 && !in.destination_x[last_x].count) --last_x;
        return last_y * layer.width + last_x;
    }

    // ----- one cycle

    // Walkers and zero skips have nothing left.
    bool clusters_idle() const {
        for (const auto& k : clusters)
            if (!k.jobs.empty() || k.active || k.credit != c.word_places || k.held) return false;
        return true;
    }

    // SIGNAL and RELEASED states of the sequencer.
    void synchronize(int32_t t) {
        released = false;
        host->stuck = false;
        log_wait(t, t >= signal_from && !host->signals);
        if (t >= signal_from) {
            if (host->signals) {
                --host->signals;
                offer = t + 1;
                signal_from = NEVER;
            } else {
                ++counters[REFILL];
                host->stuck = true;
            }
        }
        if (release_from == NEVER) return;
        const bool idle = idle_before;
        idle_before = clusters_idle();
        if (t < release_from || !idle) return;
        released = known_idle = true;
        release_from = NEVER;
        prepare(fetch_group(t + 1));
    }

    void cycle(int32_t t) {
        if (host) synchronize(t);
        if (group_from != NEVER) wait_for_group(t);
        // What the drain's set reports, and whether the drain is at it (names the stall).
        const bool waiting = drain_head != drain_tail
                             && drain_jobs[drain_head % drain_jobs.size()].visible <= t;
        const bool complete = waiting && set_complete(drain_set, t);
        const int draining = complete || step_number >= 0 ? drain_set : -1;

        bool merge_idle = true, full = false;
        for (int k = 0; k < c.clusters; ++k) {
            auto& slice = slices[k];
            full |= slice.level[1] >= c.merge_level;
            // What was visited three cycles ago is written.
            writing[k] = std::count(slice.visit_time, slice.visit_time + 3, t - 3) > 0;
            const bool taken_up = c.memory_ports == 1 && writing[k];
            merge_idle &= visit(slice, t, taken_up);
            int chosen = -1;
            if (!slice.reading && !taken_up) {
                for (int n = 0; n < c.sets; ++n) {
                    int number = slice.turn + n;
                    if (number >= c.sets) number -= c.sets;
                    const auto& cluster = clusters[size_t(number) * c.clusters + k];
                    if (cluster.active && cluster.credit && !cluster.nothing) {
                        chosen = number;
                        break;
                    }
                }
                if (chosen >= 0) slice.turn = chosen == c.sets - 1 ? 0 : chosen + 1;
            }
            reading[k] = slice.reading || taken_up || chosen >= 0;
            granted[k] = chosen;
        }

        // Sequencer, from the queues' levels before this cycle.
        bool accepted = false;
        if (t + 1 >= offer) {
            const bool room = have_room();
            accepted = t >= offer && t >= ready_at && (c.job_places ? had_room : room);
            had_room = room;
            if (next_job.last && drain_tail - drain_head == uint32_t(c.pixels_ahead))
                accepted = false;
        }
        if (accepted) hand_out(t);

        for (int k = 0; k < c.clusters; ++k) {
            for (int n = 0; n < c.sets; ++n) {
                if (t < wake[size_t(n) * c.clusters + k]) continue;
                auto& cluster = clusters[size_t(n) * c.clusters + k];
                const bool taken = skip(cluster, t, n == draining);
                walk(cluster, t, n == granted[k]);
                cluster.credit += taken;
                wake[size_t(n) * c.clusters + k] = rest(cluster, t + 1);
            }
        }
        // Drain. `stop` is registered here, `full` in the slices.
        bool idle = !waiting;
        if (step_number < 0) {
            if (complete) step_number = 0;
        } else if (stop) {
            ++counters[WRITE_BACK];
            if (!stalled) log_stall(t, DRAIN_STALL_BEGAN);
            stalled = true;
        } else {
            idle = false;
            if (stalled) log_stall(t, DRAIN_STALL_ENDED);
            stalled = false;
            auto& job = drain_jobs[drain_head % drain_jobs.size()];
            delay[(t + c.write_back) % DELAY] = {job.row_base + step_number, &job};
            ++in_flight;
            result_due[(t + c.result_write) % DELAY] = layer.raw;
            ++counters[DRAIN_STEPS];
            // The last row's first step frees the bank.
            if (step_number == job.steps - c.elements / c.lanes) {
                auto* members = &clusters[size_t(drain_set) * c.clusters];
                for (int k = 0; k < c.clusters; ++k) {
                    members[k].oldest_at = t + 3 + k;
                    int32_t& at = wake[size_t(drain_set) * c.clusters + k];
                    at = std::min(at, members[k].oldest_at);
                    members[k].complete_at = NEVER;
                }
            }
            if (++step_number == job.steps) {
                step_number = -1;
                ++drain_head;
                record(t, PIXEL_DRAINED, drain_set, job.tile, job.pixel);
                if (job.pixel == last_pixel()) record(t, TILE_DRAINED, 0, job.tile, 0);
                drain_set = drain_set == c.sets - 1 ? 0 : drain_set + 1;
            }
        }
        stop = full;
        if (in_flight) arrive(t);
        for (auto& slice : slices) {
            slice.level[1] = slice.level[0];
            slice.level[0] = int32_t(slice.tail - slice.head) + (c.few_stages && slice.shown);
        }

        if (host) {
            uint8_t& result = result_due[t % DELAY];
            host->step(reading, writing, c.shared_results && result);
            result = false;
            host->settle(released);
        }

        // Sequencer's SETTLE, then sixteen cycles of DUMP.
        if (t >= settle_from) {
            if (!drain_was_idle) {
                settling = c.settle;
            } else if (settling) {
                --settling;
            } else {
                record(t, LAYER_SETTLED, 0, 0, 0);
                finished = t + 1 + 16;
                done = true;
            }
        } else {
            settling = c.settle;
        }
        drain_was_idle = idle && merge_idle;
    }

    int32_t settling = 0;
    bool drain_was_idle = false;

    // When a cluster has to be looked at again: until then its walker cannot move, and its zero
    // skip waits for full queues, which nothing can change, or has nothing to do.
    int32_t rest(Cluster& k, int32_t t) {
        if (k.active ? k.credit > 0 : !k.jobs.empty()) return t;
        if (!k.held) return k.active || !k.words.empty() ? t : k.oldest_at;
        if (!k.pending || k.tag - k.oldest >= c.banks) return t;
        int32_t until = t;
        while (until < k.oldest_at) {
            fold(k, until);
            if (k.full_until < until) break;
            // Beyond eight cycles no interval is still to begin.
            until = until - t < 8 ? until + 1 : std::min(k.full_until + 1, k.oldest_at);
        }
        if (until > t) k.stalled_from = t;
        return until;
    }

    void fold(Cluster& k, int32_t t) {
        int32_t& end = k.full_end[t & 7];
        if (end > k.full_until) k.full_until = end;
        end = 0;
    }

    // ----- zero_skip.py and processing_element.py; true if a word was taken

    bool skip(Cluster& k, int32_t t, bool draining) {
        if (t >= k.oldest_at) {
            ++k.oldest;
            k.oldest_since = k.oldest_at;
            k.oldest_at = NEVER;
            k.complete_at = NEVER;
            if (k.tag > k.oldest) finish(k, k.oldest);
        }
        if (k.stalled_from >= 0) {
            counters[QUEUE_FULL] += t - k.stalled_from;
            k.stalled_from = -1;
        }
        for (int32_t u = std::max(k.seen + 1, t - 7); u <= t; ++u) fold(k, u);
        k.seen = t;
        bool take = !k.held;
        if (k.held) {
            if (k.tag - k.oldest >= c.banks) {
                ++counters[draining ? DRAIN : IMBALANCE];
                return false;
            }
            if (k.pending) {
                if (k.full_until >= t) {
                    ++counters[QUEUE_FULL];
                    return false;
                }
                broadcast(k, t);
                k.pending &= k.pending - 1;
            } else {
                ++counters[EMPTY_SCANS];
            }
            if (k.pending) return false;
            if (k.last) {
                const int slot = k.tag & (2 * c.banks - 1);
                k.passed[slot] = t;
                if (k.tag == k.oldest) finish(k, k.tag);
                ++k.tag;
                const int next = k.tag & (2 * c.banks - 1);
                k.passed[next] = NEVER;
                k.work_end[next] = 0;
            }
            take = true;
        }
        if (k.words.empty() || k.words.front().visible > t) {
            k.held = false;
            return false;
        }
        const Word& word = k.words.front();
        k.held = take;
        k.pending = word.pending;
        k.column = word.column;
        k.last = word.last;
        k.rows_used = word.rows_used;
        counters[SKIPPED] += word.skipped;
        k.words.pop();
        return true;
    }

    // The oldest pixel's last word is done: when the cluster reports it complete.
    void finish(Cluster& k, int32_t tag) {
        const int slot = tag & (2 * c.banks - 1);
        k.complete_at = std::max({k.passed[slot] + FLIGHT + 1, k.work_end[slot] + 1,
                                  k.oldest_since}) + 2;
    }

    void broadcast(Cluster& k, int32_t t) {
        if (c.elements == 16) return broadcast_to<16>(k, t);
        return broadcast_to<0>(k, t);
    }

    template <int ELEMENTS>
    void broadcast_to(Cluster& k, int32_t t) {
        const int32_t column = k.column + __builtin_ctz(k.pending);
        if (column >= in.columns) {
            broken = true;
            return;
        }
        const int elements = ELEMENTS ? ELEMENTS : c.elements;
        const uint8_t* counts = k.counts + int64_t(column) * elements;
        const int32_t arrival = t + FLIGHT;
        const int mask = ring - 1, back = c.depth - 1, size = ring;
        int32_t* free_at = k.free_at.data();
        int32_t* entries = k.entries.data();
        int32_t* taken = k.taken.data();
        int32_t full_end = 0, adds = 0, writes = 0;
        int32_t starts[ELEMENTS ? ELEMENTS : 64];
        for (int p = 0; p < elements; ++p) {
            const int32_t n = c.skip_weights ? counts[p] : k.rows_used;
            const int32_t start = std::max(arrival + 1, free_at[p]);
            starts[p] = start;
            free_at[p] = n ? start + n : free_at[p];
            adds += counts[p];
        }
        // A place in the history that stays is written again by the entry that follows.
        for (int p = 0; p < elements; ++p) {
            const int32_t pushed = c.skip_weights ? counts[p] > 0 : k.rows_used > 0;
            const int32_t entry = entries[p];
            int32_t* history = taken + p * size;
            const int32_t kept = history[entry & mask];
            history[entry & mask] = pushed ? starts[p] : kept;
            const int32_t end = history[(entry - back) & mask];
            full_end = pushed && end > full_end ? end : full_end;
            entries[p] = entry + pushed;
            writes += pushed;
        }
        int32_t work_end = 0;
        for (int p = 0; p < elements; ++p) work_end = std::max(work_end, free_at[p]);
        counters[BROADCASTS] += 1;
        counters[ADDS] += adds;
        counters[QUEUE_WRITES] += writes;
        if (writes) k.work_end[k.tag & (2 * c.banks - 1)] = work_end;
        if (full_end + 1 >= arrival + 2) k.full_end[(arrival + 2) & 7] = full_end + 1;
    }

    // ----- walker.py

    void walk(Cluster& k, int32_t t, bool granted) {
        bool fetch = !k.active;
        if (k.active && k.credit && (k.nothing || granted)) {
            const Job& job = k.job;
            const bool final = k.nothing || !(k.words_left | k.columns_left | k.rows_left);
            Word& word = k.words.push();
            word.visible = t + 3;
            word.column = k.trit;
            word.last = job.last && final;
            word.rows_used = uint8_t(job.rows_used);
            word.pending = 0;
            word.skipped = 0;
            --k.credit;
            if (!k.nothing) {
                if (k.address >= in.activation_depth) {
                    broken = true;
                    return;
                }
                const int lanes = k.words_left ? c.scan : job.last_lanes;
                const uint16_t used = uint16_t((1u << lanes) - 1);
                word.pending = c.skip_activations ? k.activations[k.address] & used : used;
                word.skipped = uint8_t(lanes - __builtin_popcount(word.pending));
                ++counters[READS];
            }
            if (final) {
                fetch = true;
            } else if (k.words_left) {
                --k.words_left;
                ++k.address;
                k.trit += c.scan;
            } else {
                k.words_left = job.word_count - 1;
                if (k.columns_left) {
                    --k.columns_left;
                    k.address = k.position += job.step_x;
                    k.trit = k.trit_position += job.trit_step_x;
                } else {
                    k.columns_left = job.count_x - 1;
                    --k.rows_left;
                    k.address = k.position = k.row += job.step_y;
                    k.trit = k.trit_position = k.trit_row += job.trit_step_y;
                }
            }
        }
        if (fetch) {
            k.active = !k.jobs.empty() && k.job_visible[k.jobs.head % MOST_JOBS] <= t;
            if (!k.active) return;
            k.job = k.jobs.front();
            k.jobs.pop();
            const Job& job = k.job;
            k.address = k.position = k.row = job.address;
            k.trit = k.trit_position = k.trit_row = job.trit;
            k.words_left = job.word_count - 1;
            k.columns_left = job.count_x - 1;
            k.rows_left = job.count_y - 1;
            k.nothing = job.count_x == 0 || job.count_y == 0;
        }
    }

    // ----- merge.py; steps that have passed chain and requantizer are queued

    void arrive(int32_t t) {
        Step& step = delay[t % DELAY];
        if (!step.job) return;
        const DrainJob& job = *step.job;
        step.job = nullptr;
        --in_flight;
        if (layer.raw) {
            ++counters[RESULT_WRITES];
            return;
        }
        for (int lane = 0; lane < c.lanes; ++lane) {
            const RowLane& row = in.row_lanes[int64_t(step.entry) * c.lanes + lane];
            if (!row.enable || row.cluster >= c.clusters) continue;
            int fresh_x = job.fresh_x, fresh_y = job.fresh_y;
            int count_x = job.count_x, count_y = job.count_y;
            if (in.outputs && !layer.is_signed) {
                const int64_t pixels = int64_t(layer.height) * layer.width;
                const uint16_t word = in.outputs[
                    (row.cluster * pixels + job.pixel) * in.output_words + row.word];
                if (!(word >> row.lane & 1)) {
                    if (!fresh_x || !fresh_y) continue;
                    count_x = fresh_x;
                    count_y = fresh_y;
                }
            }
            auto& slice = slices[row.cluster];
            const uint32_t place = slice.tail++ % c.merge_places;
            slice.queue[place] = {t + 1, job.address + row.word, row.lane,
                                  uint8_t(count_x), uint8_t(count_y), uint8_t(fresh_x),
                                  uint8_t(fresh_y)};
        }
    }

    // One visit; true if the slice has nothing to do.
    bool visit(Slice& slice, int32_t t, bool taken_up) {
        const bool idle = !slice.pending && !slice.shown && slice.head == slice.tail
                          && t - slice.visit_time[0] > 3;
        slice.reading = slice.pending && slice.merge;
        if (slice.pending && !waits(slice, t, taken_up)) {
            if (slice.merge) ++counters[MERGE_READS];
            ++counters[WRITE_BACKS];
            for (int i = 2; i > 0; --i) {
                slice.visit_time[i] = slice.visit_time[i - 1];
                slice.visit_address[i] = slice.visit_address[i - 1];
                slice.visit_lane[i] = slice.visit_lane[i - 1];
            }
            slice.visit_time[0] = t;
            slice.visit_address[0] = slice.address;
            slice.visit_lane[0] = slice.lane;
            slice.pending = false;
        }
        // With few stages the oldest write-back is the queue's.
        const bool direct = c.few_stages;
        if (direct && !slice.pending) show(slice, t);
        if (!slice.pending && slice.shown) slice.shown = !take_up(slice);
        if (!direct) show(slice, t);
        return idle;
    }

    void show(Slice& slice, int32_t t) {
        if (!slice.shown && slice.head != slice.tail) {
            slice.first = slice.queue[slice.head % c.merge_places];
            slice.shown = slice.first.visible <= t;
            slice.head += slice.shown;
        }
    }

    bool waits(const Slice& slice, int32_t t, bool taken_up) const {
        if (!slice.merge) return false;
        if (taken_up) return true;
        // A word that is just being written cannot be read, whatever the lane.
        for (int i = 0; i < 3; ++i)
            if (t - slice.visit_time[i] <= 3 && slice.visit_address[i] == slice.address
                && (slice.visit_lane[i] == slice.lane || t - slice.visit_time[i] == 3))
                return true;
        return false;
    }

    // The next visit, for the cycle after; true if it is the last of its write-back.
    bool take_up(Slice& slice) {
        const WriteBack& head = slice.first;
        slice.pending = true;
        slice.address = head.address - slice.y * layer.step_y - slice.x * layer.step_x;
        slice.lane = head.lane;
        slice.merge = !(slice.x < head.fresh_x && slice.y < head.fresh_y);
        if (++slice.x < head.count_x) return false;
        slice.x = 0;
        if (++slice.y < head.count_y) return false;
        slice.y = 0;
        return true;
    }
};

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

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

// Fills `counters` (16), and `log` unless it is null. 0, or 1: `*cancel` was set, 2: the program addresses memory that is not there.
int32_t cycle_model_layer(const Machine* machine, const LayerInput* input, int64_t* counters,
                          void* log, volatile int64_t* progress,
                          const volatile int32_t* cancel) {
    std::memset(counters, 0, sizeof(int64_t) * COUNTERS);
    return Simulation(*machine, *input, counters, static_cast<std::vector<Record>*>(log),
                      progress, cancel).run();
}

// The passes of a streamed network in one run, with the host's packets. Counters of pass n begin
// at counters + 16 n. As `cycle_model_layer`; 3: program and host wait for each other; `*passes`
// tells how many are over.
int32_t cycle_model_stream(const Machine* machine, const LayerInput* inputs, int32_t count,
                           const Packet* packets, int64_t packet_count, int64_t* counters,
                           void* log, volatile int64_t* passes, const volatile int32_t* cancel) {
    Host host(*machine, packets, packet_count);
    while (!host.step(nullptr, nullptr)) {}
    host.settle(0);
    host.running = true;
    std::memset(counters, 0, sizeof(int64_t) * COUNTERS * count);
    for (int32_t n = 0; n < count; ++n) {
        Simulation simulation(*machine, inputs[n], counters + int64_t(COUNTERS) * n,
                              static_cast<std::vector<Record>*>(log), nullptr, cancel, &host);
        if (const int status = simulation.run()) return status;
        *passes = n + 1;
    }
    return 0;
}

// Ones among the `rows` first bits of every element's trit words: [word][element].
void cycle_model_counts(const uint8_t* trits, int64_t words, int32_t elements, int32_t rows,
                        uint8_t* counts) {
    const int64_t bytes = (int64_t(2) * elements * rows + 7) / 8;
    if (rows == 16) {
        for (int64_t w = 0; w < words; ++w)
            for (int p = 0; p < elements; ++p) {
                uint16_t mask;
                std::memcpy(&mask, trits + w * bytes + 4 * p, 2);
                counts[w * elements + p] = uint8_t(__builtin_popcount(mask));
            }
        return;
    }
    for (int64_t w = 0; w < words; ++w)
        for (int p = 0; p < elements; ++p) {
            int count = 0;
            for (int r = 0; r < rows; ++r) {
                const int64_t bit = int64_t(2) * rows * p + r;
                count += trits[w * bytes + bit / 8] >> (bit % 8) & 1;
            }
            counts[w * elements + p] = uint8_t(count);
        }
}

}  // extern "C"
#pragma GCC visibility pop
