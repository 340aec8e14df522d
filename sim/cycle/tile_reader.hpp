// hw/tile_reader.py and hw/program_fetch.py: requests the words of a layer's tiles.

#pragma once

#include "layer.hpp"

namespace cycle_model {
namespace {

// A word on its way to the assembler.
struct ProgramWord {
    enum Kind : uint8_t { OTHER, TILE, JOB };   // JOB: with it a column group of a pixel is complete
    int32_t visible, tile, group, y, x;
    Kind kind;
    bool last;
};

// What has been requested, in order: hw/program_fetch.py and hw/read_ahead.py; without places to read
// ahead, one job at a time.
class Words {
  public:
    explicit Words(const Machine& machine)
        : c(machine), ahead(c.group_places > 1), free(ahead ? READ_AHEAD_PLACES : 1) {}

    // Cycles after a fetch of `n` words began in which what waits for them acts.
    int32_t acts(int32_t n) const { return n * c.program_reads + c.fetch_latency; }

    // Of what is requested in cycle `t`: the reader knows it.
    int32_t known(int32_t t) const { return t + c.fetch_latency + 1; }

    bool empty() const { return free == (ahead ? READ_AHEAD_PLACES : 1); }

    // A read; true if it requests a word, and not its first half. SAME_Y and SAME_X are not read.
    bool read(bool same = false) {
        if (!free) return false;
        if (c.program_reads == 2 && !same && !second) {
            second = true;
            return false;
        }
        second = false;
        return true;
    }

    void request(int32_t t, ProgramWord word) {
        word.visible = t + c.fetch_latency + (ahead ? QUEUE_LATENCY : 0);
        words.push() = word;
        reserved = ahead || word.kind == ProgramWord::JOB;
    }

    const ProgramWord* front(int32_t t) const {
        return words.empty() || words.front().visible > t ? nullptr : &words.front();
    }

    void take() { words.pop(); }

    // The end of a cycle; `taken`: a word, `done`: a job.
    void step(bool taken, bool done) {
        free += int32_t(ahead ? taken : done) - int32_t(reserved);
        reserved = false;
    }

  private:
    const Machine& c;
    const bool ahead;
    int32_t free;
    bool second = false, reserved = false;
    // As many as are read ahead, or on their way from the memory.
    Ring<ProgramWord, READ_AHEAD_PLACES + MEMORY_LATENCY + 2> words;
};

class TileReader {
  public:
    TileReader(Layer& layer, Words& words) : layer(layer), c(layer.machine), words(words) {}

    bool finished() const { return state == State::FINISHED; }

    // One cycle. `group_free`: a GROUP record may be replaced.
    void step(int32_t t, bool group_free) {
        switch (state) {
            case State::TILE:
                y = x = 0;
                if (!read(t, TILE_WORDS, ProgramWord::TILE)) return;
                known_at = words.known(t);
                state = State::TILE_CHECK;
                return;
            case State::TILE_CHECK:
                kept = tile().group_count <= c.group_places;
                first();
                if (t >= known_at) state = kept ? State::GROUPS : State::LINE;
                return;
            case State::GROUPS:
                if (!group_free || !read(t, GROUP_WORDS)) return;
                if (following()) state = State::LINE;
                return;
            case State::LINE:
                line_known = false;
                if (!read(t, DESTINATION_WORDS)) return;
                known_at = words.known(t);
                state = kept ? State::GEOMETRY_Y : State::LINE_CHECK;
                return;
            case State::GEOMETRY_Y:
                if (!read_geometry(t, kept && group != 0 && same_y(), ProgramWord::OTHER)) return;
                line_known = true;
                if (!kept) state = State::GEOMETRY_X;
                else if (following()) state = State::LINE_CHECK;
                return;
            case State::LINE_CHECK:
                if (t < known_at) return;
                state = State::PIXEL;
                if (!layer.in.destination_y[y].count) next_line();
                return;
            case State::PIXEL:
                if (!read(t, DESTINATION_WORDS)) return;
                known_at = words.known(t);
                state = kept ? State::GEOMETRY_X : State::PIXEL_CHECK;
                return;
            case State::PIXEL_CHECK:
                if (t < known_at) return;
                state = State::GROUP;
                if (!layer.in.destination_x[x].count) next_pixel();
                return;
            case State::GROUP:
                if (!group_free || !read(t, GROUP_WORDS)) return;
                state = line_known && same_y() ? State::GEOMETRY_X : State::GEOMETRY_Y;
                return;
            case State::GEOMETRY_X:
                if (!read_geometry(t, group != 0 && same_x(), ProgramWord::JOB)) return;
                if (!kept) state = State::GROUP;
                if (following()) next_pixel();
                return;
            case State::NEXT_TILE:
                state = ++number == layer.fields.tile_count ? State::FINISHED : State::TILE;
                return;
            case State::FINISHED:
                return;
        }
    }

  private:
    enum class State {
        TILE, TILE_CHECK, GROUPS, LINE, GEOMETRY_Y, LINE_CHECK, PIXEL, PIXEL_CHECK, GROUP, GEOMETRY_X,
        NEXT_TILE, FINISHED
    };

    const Tile& tile() const { return layer.in.tiles[number]; }
    const Group& at(int32_t index) const { return layer.in.groups[tile().first_group + index]; }

    // The group before: in the first of a pixel, the one that was read last.
    const Group& before() const { return at(group ? group - 1 : tile().group_count - 1); }
    bool same_y() const { return at(group).table_y == before().table_y; }
    bool same_x() const { return at(group).table_x == before().table_x; }

    void first() { group = 0; }

    // To the next group; true, and to the first one, behind the last.
    bool following() {
        if (++group < tile().group_count) return false;
        group = 0;
        return true;
    }

    void next_pixel() {
        state = State::PIXEL;
        if (++x < layer.fields.width) return;
        x = 0;
        next_line();
    }

    void next_line() {
        state = ++y < layer.fields.height ? State::LINE : State::NEXT_TILE;
    }

    // One read of a record of `n` words, the last one of kind `kind`; true if it is its last.
    bool read(int32_t t, int32_t n, ProgramWord::Kind kind = ProgramWord::OTHER, bool same = false) {
        if (!words.read(same)) return false;
        const bool ends = ++word == n;
        words.request(t, {0, number, tile().first_group + group, y, x,
                          ends ? kind : ProgramWord::OTHER, group == tile().group_count - 1});
        if (ends) word = 0;
        return ends;
    }

    bool read_geometry(int32_t t, bool same, ProgramWord::Kind kind) {
        return read(t, same ? 1 : GEOMETRY_WORDS, kind, same);
    }

    Layer& layer;
    const Machine& c;
    Words& words;
    State state = State::TILE;
    int32_t number = 0, group = 0, y = 0, x = 0, word = 0, known_at = 0;
    bool kept = false;                  // the tile's groups are kept
    bool line_known = false;            // the last group read has its GEOMETRY_Y
};

}  // namespace
}  // namespace cycle_model
