// Calls that follow a plan of the test's making, so that small inputs reach every way of running.
#pragma once

#include "call.h"
#include "execute.h"
#include "run.h"

namespace tests {

// Runs what the public interface would run, after edit(plan).
template <class Edit>
void apply_planned(fs::Op op, const fs::ConstView& x, const fs::View& out,
                   std::span<const int> axes, const fs::Options& options, Edit&& edit) {
  const fs::Call call = fs::make_call(op, x, out, axes, options);
  fs::Plan plan = fs::make_plan(call.problem(), options.algorithm, fs::Caches{}, 1);
  edit(plan);
  fs::execute(call, plan);
}

}  // namespace tests
