// Activations in the same pass as a normalisation.

#pragma once

namespace gen_native::norm {

enum class Activation : int { kNone = 0, kRelu = 1, kLeakyRelu = 2, kSilu = 3 };

}  // namespace gen_native::norm
