# cmake -DFROM=... -DTO=... -P copy_package.cmake: the Python package without compiled files.
file(COPY ${FROM}/ DESTINATION ${TO} PATTERN "*.so" EXCLUDE PATTERN __pycache__ EXCLUDE)
