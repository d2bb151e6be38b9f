// What the process keeps: constants that have been checked, and a word on where they come from.
#pragma once

#include <string>

#include "fastsoftmax/plan.hpp"

namespace fastsoftmax {

void set_constants(const PlanConstants& constants, std::string origin);

// The next plan looks for the file again.
void forget_constants() noexcept;

}  // namespace fastsoftmax
