# The CUDA half of the core: the compiler, the architectures, and cuBLAS. Makes the library of objects
# normrnn_cuda, and sets normrnn_cuda_libraries and normrnn_cuda_rpath.
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  message(FATAL_ERROR "NORMRNN_CUDA=ON needs a CUDA compiler, and none was found: install the "
                      "CUDA toolkit 13 (nvcc) and put it on PATH or set CMAKE_CUDA_COMPILER, or "
                      "build without -DNORMRNN_CUDA=ON.")
endif()
# Code for Ampere (A100) and Hopper, and Ampere's in a form that the driver compiles for any later
# device. 90a rather than 90: kernels for Hopper alone use its own instructions (wgmma).
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES "80-real;90a-real;80-virtual")
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 13)
  message(FATAL_ERROR "NORMRNN_CUDA=ON needs the CUDA toolkit 13, got nvcc "
                      "${CMAKE_CUDA_COMPILER_VERSION} (${CMAKE_CUDA_COMPILER}).")
endif()
find_package(CUDAToolkit 13 REQUIRED)

# cuBLAS: the toolkit's own, or that of the wheel nvidia-cublas, which Python knows the place of.
set(NORMRNN_CUBLAS_ROOT "" CACHE PATH "Folder with include/cublas_v2.h and lib/libcublas.so.13")
set(cublas_roots ${NORMRNN_CUBLAS_ROOT})
if(NOT cublas_roots)
  find_package(Python 3.11 COMPONENTS Interpreter)
  if(Python_Interpreter_FOUND)
    execute_process(
      COMMAND ${Python_EXECUTABLE} -c "
import importlib.util
spec = importlib.util.find_spec('nvidia')
places = list(spec.submodule_search_locations) if spec else []
print(';'.join(f'{place}/{folder}' for place in places for folder in ('cu13', 'cublas')))"
      OUTPUT_VARIABLE cublas_roots OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
endif()
find_path(NORMRNN_CUBLAS_INCLUDE cublas_v2.h HINTS ${cublas_roots}
  PATHS ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES include NO_DEFAULT_PATH)
# The library that belongs to the header, if there is one beside it.
get_filename_component(cublas_root "${NORMRNN_CUBLAS_INCLUDE}" DIRECTORY)
find_library(NORMRNN_CUBLAS_LIBRARY NAMES cublas libcublas.so.13 NAMES_PER_DIR
  HINTS ${cublas_root} ${cublas_roots} PATHS ${CUDAToolkit_LIBRARY_DIR} ${CUDAToolkit_LIBRARY_ROOT}
  PATH_SUFFIXES lib lib64 NO_DEFAULT_PATH)
if(NOT NORMRNN_CUBLAS_INCLUDE OR NOT NORMRNN_CUBLAS_LIBRARY)
  message(FATAL_ERROR "NORMRNN_CUDA=ON needs cuBLAS 13 with its headers, and found them neither in "
                      "the CUDA toolkit (${CUDAToolkit_LIBRARY_DIR}) nor in Python's packages: "
                      "install the toolkit's libcublas-dev, or 'pip install nvidia-cublas', or set "
                      "NORMRNN_CUBLAS_ROOT. pip builds in an environment of its own, without "
                      "that package, unless it is called with --no-build-isolation.")
endif()
file(STRINGS ${NORMRNN_CUBLAS_INCLUDE}/cublas_api.h cublas_version REGEX "define CUBLAS_VER_MAJOR")
if(NOT cublas_version MATCHES "CUBLAS_VER_MAJOR 13")
  message(FATAL_ERROR "NORMRNN_CUDA=ON needs cuBLAS 13, got '${cublas_version}' in "
                      "${NORMRNN_CUBLAS_INCLUDE}/cublas_api.h: set NORMRNN_CUBLAS_ROOT")
endif()
message(STATUS "cuBLAS: ${NORMRNN_CUBLAS_LIBRARY}")

# What is compiled by nvcc is a library of objects of its own: flags meant for it stay there.
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
add_library(normrnn_cuda OBJECT
  cpp/src/cuda/api.cu cpp/src/cuda/calls_f32.cu cpp/src/cuda/calls_f64.cu
  cpp/src/cuda/workspace.cu)
target_include_directories(normrnn_cuda PRIVATE cpp/include cpp/src ${NORMRNN_CUBLAS_INCLUDE})
target_compile_options(normrnn_cuda PRIVATE
  --extended-lambda --expt-relaxed-constexpr -Xcompiler=-Wall,-Wextra)
# For linking alone: headers of CUDA are not for the rest of the core, which would be compiled anew.
set(normrnn_cuda_libraries "$<LINK_ONLY:CUDA::cudart_static>" ${NORMRNN_CUBLAS_LIBRARY})
# Where an installed extension module looks for cuBLAS: in the wheel beside it, or where it was found.
get_filename_component(normrnn_cublas_folder ${NORMRNN_CUBLAS_LIBRARY} DIRECTORY)
set(normrnn_cuda_rpath "$ORIGIN/../nvidia/cu13/lib" ${normrnn_cublas_folder})

# For tests: what ptxas says of each kernel, kept beside the object files.
if(NORMRNN_TESTS)
  set_target_properties(normrnn_cuda PROPERTIES
    CUDA_COMPILER_LAUNCHER "sh;${CMAKE_CURRENT_SOURCE_DIR}/cmake/keep_ptxas.sh")
endif()
