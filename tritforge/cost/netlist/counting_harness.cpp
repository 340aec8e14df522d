// sim/harness.cpp for a netlist that counts: activity_counts() besides all that is there.

#include "harness.cpp"

#include "groups.h"     // GROUPS: JSON that says what is counted

namespace {
const char groups[] = GROUPS;
}

#pragma GCC visibility push(default)
extern "C" {

const char* activity_groups() { return groups; }

// Copies what has been counted since the simulation began, one word per group.
void activity_counts(void* handle, uint64_t* counts, uint64_t number) {
    const auto& top = static_cast<Harness*>(handle)->top;
    for (uint64_t i = 0; i < number; ++i) counts[i] = top.counts[i];
}

}  // extern "C"
#pragma GCC visibility pop
