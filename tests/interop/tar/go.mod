module tarheaders

go 1.21
