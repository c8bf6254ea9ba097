// How fast each worker was of late, and shares of work that follow from it.
//
// Cores need not be alike, nor have nobody else on them, and work that is shared out beforehand is
// done when its slowest worker is. Results do not depend on the shares.
#pragma once

#include <cstdint>
#include <vector>

namespace normrnn {

// Of each of `workers` workers, around 1; 1 until something else is known.
std::vector<double> worker_speeds(int workers);

// To be told what each worker has done, in any unit, and for how long it was not waiting.
void note_speeds(const std::vector<double>& work, const std::vector<double>& nanoseconds);

// The first item of each worker, and one past the last, of items with some work each: in proportion
// to speeds, or even where that is hardly slower.
std::vector<int64_t> shares_of(const std::vector<int64_t>& work, const std::vector<double>& speeds);

}  // namespace normrnn
