module accel.invalid/json

go 1.18
