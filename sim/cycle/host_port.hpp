// hw/host_port.py, state by state: carries out packets and answers them. The host takes every word
// that is answered.

#pragma once

#include "activation_slice.hpp"
#include "packet_buffer.hpp"

namespace cycle_model {
namespace {

// Answers to READ, one after the other.
class Answers {
  public:
    explicit Answers(const Machine& machine) : c(machine) {}

    void offer(int32_t slice, int32_t count) { requests.push() = {slice, count}; }

    // One cycle; true in that of an answer's last word.
    bool step(const Busy& busy) {
        switch (state) {
            case State::IDLE:
                if (level) {
                    current = requests.front();
                    requests.pop();
                    state = State::HEADER;
                }
                return false;
            case State::HEADER:
                state = State::LENGTH;
                return false;
            case State::LENGTH:
                words_left = current.count;
                chunk = 0;
                state = State::FETCH;
                return false;
            case State::FETCH:
                if (!(current.slice >= 0 && busy.reading[current.slice])) {
                    state = State::ARRIVE;
                    arrives = MEMORY_LATENCY;
                }
                return false;
            case State::ARRIVE:
                if (--arrives == 0) state = State::DATA;
                return false;
            case State::DATA:
                if (++chunk < (current.slice >= 0 ? c.read_chunks : 1)) return false;
                chunk = 0;
                state = --words_left ? State::FETCH : State::IDLE;
                return words_left == 0;
        }
        return false;
    }

    // The end of a cycle.
    void settle() { level = requests.size(); }

  private:
    enum class State { IDLE, HEADER, LENGTH, FETCH, ARRIVE, DATA };
    struct Request {
        int32_t slice, count;
    };

    const Machine& c;
    State state = State::IDLE;
    Ring<Request, MOST_RESPONSE_PLACES> requests;
    Request current{};
    uint32_t level = 0;
    int32_t words_left = 0, chunk = 0, arrives = 0;
};

class HostPort {
  public:
    HostPort(const Machine& machine, const Packet* packets, int64_t count)
        : c(machine), buffer(machine, packets, count), answers(machine) {}

    int32_t signals = 0, releases = 0;  // of the sequencer
    bool running = false;
    bool stuck = false;                 // the program waits for a signal
    bool broken = false;                // and the host for the program

    // One cycle; busy slices serve others first, `result`: a result is written where the packets'
    // words are. True: the program starts.
    bool step(const Busy& busy, bool result = false) {
        const bool word = buffer.has_word();
        const bool answered = answers.step(busy);
        bool start = false, end = false, taken = false, storing = false;
        switch (state) {
            case State::HEADER:
                if (word) {
                    taken = true;
                    state = State::LENGTH;
                }
                break;
            case State::LENGTH:
                if (word) {
                    taken = true;
                    left = buffer.packet().length;
                    state = State::OPCODE;
                }
                break;
            case State::OPCODE:
                // Packets that do more than write wait until all is written.
                if (opcode() != Opcode::WRITE && stored) break;
                switch (opcode()) {
                    case Opcode::SIGNAL: state = State::SIGNAL; break;
                    case Opcode::WAIT: state = State::WAIT; break;
                    default: state = State::ADDRESS;
                }
                break;
            case State::ADDRESS:
                if (word) {
                    taken = true;
                    --left;
                    state = State::COUNT;
                }
                break;
            case State::COUNT:
                if (word) {
                    taken = true;
                    --left;
                    state = State::CHECK;
                }
                break;
            case State::CHECK:
                state = State::DECIDE;
                break;
            case State::DECIDE:
                switch (opcode()) {
                    case Opcode::WRITE: state = State::WRITE; break;
                    case Opcode::RUN: state = State::START; break;
                    default: state = State::QUEUE;
                }
                break;
            case State::START:
                start = true;
                state = State::END;
                break;
            case State::WRITE:
                if (word && has_room(busy)) {
                    taken = true;
                    storing = c.write_places > 0;
                    if (--left == 0) state = State::END;
                }
                break;
            case State::QUEUE:
                answers.offer(buffer.packet().slice, buffer.packet().words);
                state = State::END;
                break;
            case State::SIGNAL:
                ++signalled;
                state = State::END;
                break;
            case State::WAIT:
                if (releases > 0 || !running) {
                    taken_releases = releases > 0;
                    state = State::END;
                } else if (stuck) {
                    broken = true;
                }
                break;
            case State::END:
                end = true;
                state = State::HEADER;
                break;
        }
        // What is written waits until its slice takes it.
        if (stored && takes(busy, store[0])) {
            --stored;
            for (int32_t place = 0; place < stored; ++place) store[place] = store[place + 1];
        }
        if (storing) store[stored++] = buffer.packet().slice;
        buffer.step(taken, end, answered, result);
        answers.settle();
        return start;
    }

    // The end of a cycle: what the sequencer sees from the next one on.
    void settle(bool released) {
        signals += signalled;
        releases += int32_t(released) - taken_releases;
        signalled = taken_releases = 0;
    }

  private:
    enum class State {
        HEADER, LENGTH, OPCODE, ADDRESS, COUNT, CHECK, DECIDE, START, WRITE, QUEUE, SIGNAL, WAIT, END
    };

    Opcode opcode() const { return Opcode(buffer.packet().opcode); }

    // What is written can leave the packet buffer: where nothing holds it, to its slice.
    bool has_room(const Busy& busy) const {
        return c.write_places ? stored < c.write_places : takes(busy, buffer.packet().slice);
    }

    static bool takes(const Busy& busy, int32_t slice) { return slice < 0 || !busy.writing[slice]; }

    const Machine& c;
    PacketBuffer buffer;
    Answers answers;
    State state = State::HEADER;
    int32_t left = 0, signalled = 0, taken_releases = 0;
    int32_t stored = 0, store[WRITE_PLACES] = {};   // slices
};

}  // namespace
}  // namespace cycle_model
