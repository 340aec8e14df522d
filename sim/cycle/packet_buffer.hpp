// hw/packet_buffer.py, and the host that fills it: it offers a word in every cycle.

#pragma once

#include "layer.hpp"

namespace cycle_model {
namespace {

class PacketBuffer {
  public:
    PacketBuffer(const Machine& machine, const Packet* packets, int64_t count)
        : c(machine), packets(packets), count(count) {}

    // A packet has arrived whole, and its current word shows.
    bool has_word() const { return waiting > 0 && fresh; }

    const Packet& packet() const { return packets[done]; }

    // One cycle; `taken`: the current word is, `end`: the packet is finished, `answered`: an answer
    // has ended, `result`: a result is written where the words are, and goes before them.
    void step(bool taken, bool end, bool answered, bool result) {
        const bool valid = waiting > 0;
        const bool room = waiting < c.packet_places && received - consumed < c.buffer_words
                          && !result;
        bool arrived = false;
        if (sending < count && wanted <= 0 && room) {
            ++received;
            if (++index == packets[sending].length + HEADER_WORDS) {
                index = 0;
                arrived = true;
                wanted += packets[sending].answers;
                ++sending;
            }
        }
        // Answers to the first of several reads can come before the last is sent.
        wanted -= answered;
        fresh = valid && !end;
        consumed += taken;
        waiting += int32_t(arrived) - int32_t(end);
        done += end;
    }

  private:
    const Machine& c;
    const Packet* packets;
    int64_t count;
    // The host: packet and word, answers that must still come before it goes on.
    int64_t sending = 0;
    int32_t index = 0, wanted = 0;
    // The buffer: words, whole packets.
    int64_t received = 0, consumed = 0, done = 0;
    int32_t waiting = 0;
    bool fresh = false;
};

}  // namespace
}  // namespace cycle_model
