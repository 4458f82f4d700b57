# The module autometa._cuda: machine code for CUDA_ARCHITECTURES, the runtime linked in, so that it loads without a driver.
enable_language(CUDA)
find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
find_package(pybind11 CONFIG REQUIRED)

# The newest comes with PTX, for architectures to come.
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
  set(AUTOMETA_CUDA_DEFAULT "80-real;90")
else()
  set(AUTOMETA_CUDA_DEFAULT "80-real;90-real;100")
endif()
set(AUTOMETA_CUDA_ARCHS "" CACHE STRING "Architectures, as CMake's CUDA_ARCHITECTURES; empty: ${AUTOMETA_CUDA_DEFAULT}")
if(NOT AUTOMETA_CUDA_ARCHS)
  set(AUTOMETA_CUDA_ARCHS "${AUTOMETA_CUDA_DEFAULT}")
endif()

pybind11_add_module(_cuda MODULE NO_EXTRAS
  csrc/bindings_cuda.cpp
  csrc/adam/adam.cu
  csrc/augment_images/augment_images.cu
  csrc/batch_indices/batch_indices.cu
  csrc/clip_grad/clip_grad.cu
  csrc/drop_masks/drop_masks.cu
  csrc/finite_slots/finite_slots.cu
  csrc/gather_images/gather_images.cu
  csrc/reptile/reptile.cu
  csrc/sample_tasks/sample_tasks.cu
  csrc/sgd/sgd.cu
  csrc/versions/versions.cu)
target_include_directories(_cuda PRIVATE csrc/include)
target_compile_features(_cuda PRIVATE cxx_std_17 cuda_std_17)
# Contraction off, as in the C++ core: the same formulas round alike. Square roots and quotients are IEEE's by default.
target_compile_options(_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false>)
list(JOIN AUTOMETA_CUDA_ARCHS " " AUTOMETA_CUDA_NAMES)
set_source_files_properties(csrc/bindings_cuda.cpp PROPERTIES COMPILE_DEFINITIONS
  "AUTOMETA_VERSION=\"${AUTOMETA_VERSION}\";AUTOMETA_CUDA_ARCHITECTURES=\"${AUTOMETA_CUDA_NAMES}\"")
set_target_properties(_cuda PROPERTIES
  CUDA_ARCHITECTURES "${AUTOMETA_CUDA_ARCHS}" CUDA_RUNTIME_LIBRARY Static
  CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden)
