/* The id of a request: a random UUID. */
#ifndef FNRUN_REQUEST_ID_H
#define FNRUN_REQUEST_ID_H

#define REQUEST_ID_SIZE 37

/* Version 4: RFC 9562. */
void request_id_make(char id[REQUEST_ID_SIZE]);

#endif
